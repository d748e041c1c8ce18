"""Puts the sections of a report together."""

from latadj.reporting.html import dial, examples, pruning, setup
from latadj.reporting.html.headline import environment_of, headline, named
from latadj.reporting.html.page import page, render, static
from latadj.reporting.html.positions import results_of
from latadj.reporting.html.sources import Sources


def html_report(sources: Sources) -> str:
    """One self-contained HTML page of what a run's folder holds; what is not there is said in its place."""
    results = results_of(sources.sweep) if sources.sweep is not None else None
    sections = [
        dial.dial(sources, results),
        dial.cost(results),
        dial.contribution(sources),
        dial.kept(sources, results),
        pruning.compared(sources),
        pruning.left(sources),
        examples.slowest(sources),
        examples.changed(sources),
        setup.evaluation(sources),
        setup.training(sources),
        setup.environment(sources),
        setup.origin(sources),
    ]
    where = environment_of(sources)
    origin = vars(results) if results else named(sources)
    parts = [where.get("processor"), where.get("precision"), (where.get("time") or "")[:10]]
    body = render(
        "report.html",
        model=origin["model"],
        task=origin["task"],
        where=" · ".join(str(part) for part in parts if part),
        warning=(where.get("quiet") or {}).get("warning"),
        headline=headline(sources, results),
        sections=[section for section in sections if section is not None],
    )
    name = f"{results.model} on {results.task}" if results else sources.folder.name
    return page(f"latadj report: {name}", body, style=static("report.css"), script=static("report.js"))
