"""Puts the sections of a report together."""

from pathlib import Path

from latadj.reporting.html import dial, examples, pruning, setup
from latadj.reporting.html.headline import heading
from latadj.reporting.html.page import page, text
from latadj.reporting.html.positions import results_of
from latadj.reporting.html.sources import Sources

_HERE = Path(__file__).parent


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
    shown = [section for section in sections if section is not None]
    links = "".join(f'<li><a href="#{section.name}">{text(section.title.split(":")[0])}</a></li>' for section in shown)
    body = heading(sources, results) + f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
    name = f"{results.model} on {results.task}" if results else sources.folder.name
    return page(
        f"latadj report: {name}",
        body + "\n".join(section.html() for section in shown),
        style=(_HERE / "report.css").read_text(encoding="utf-8"),
        script=(_HERE / "report.js").read_text(encoding="utf-8"),
    )
