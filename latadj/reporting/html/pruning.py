"""Sections about pruning: what is left of each layer, and pruned models beside the dial."""

from latadj.reporting.html.components import Section, ends, minus, note, speed, times
from latadj.reporting.html.page import table
from latadj.reporting.html.sources import Sources
from latadj.reporting.results.comparison import ModelRow
from latadj.reporting.results.pruning import PrunedModel, Size
from latadj.reporting.tables.comparison import notes
from latadj.utils.serialization import structure


def left(sources: Sources) -> Section | None:
    """What `latadj prune` left of each layer, and what it was worth; None where it was not run."""
    found = sources.prune
    if found is None:
        return None
    models, full = structure(list[PrunedModel], found["frontier"]), structure(Size, found["full"])
    names = ["pruned" if model.budget is None else f"{model.budget:g}" for model in models]
    rows = [
        [str(index + 1), *(cell for model in models for cell in model.layers[index].cells())]
        for index in range(len(models[0].layers))
    ]
    share = f"{found['config']['prune']['confidence']:.0%}"
    head = ["layer", *(f"{what}, {name}" for name in names for what in ("heads", "neurons"))]
    layers = table(head, rows, numbers=set(range(1, len(head))), caption="What is left of each layer")
    worth = table(
        ["model", "parameters", "FLOPs", "measured", "judged by", "confirmed on", "confirmed difference", share],
        [_worth(name, model, full) for name, model in zip(names, models, strict=True)],
        numbers=set(range(1, 8)),
        caption=f"Against the full model: shares, and {found['metric'].replace('_', ' ')} on validation text",
    )
    out = [candidate for candidate in found["candidates"] if not candidate["kept"]]
    said = f"{len(out)} of {len(found['candidates'])} candidates went, judged by {found['objective']}."
    return Section("pruning", "Pruning: what is left", worth + layers + note(said))


def compared(sources: Sources) -> Section | None:
    """Pruned models and dials side by side; None where they were not compared."""
    found = sources.compare
    if found is None:
        return None
    head = ["model", "precision", "at", found.metric.replace("_", " "), "drop, points", "95%", "parameters", "FLOPs"]
    head += ["measured", "95%", "own"]
    body = table(
        head, [_row(row) for row in found.models], numbers=set(range(2, len(head))), caption="On the test split"
    )
    return Section("compared", "Compared: models in every precision", body + "".join(map(note, notes(found))))


def _worth(name: str, model: PrunedModel, full: Size) -> list[str]:
    judged, confirmed = model.judged, model.confirmed
    return [
        name,
        *(
            f"{ours / whole:.2f}x"
            for ours, whole in ((model.size.parameters, full.parameters), (model.size.flops, full.flops))
        ),
        times(model.measured_speedup),
        *(f"{100 * part.full_metric:.2f} → {100 * part.metric:.2f}" for part in (judged, confirmed)),
        minus(f"{100 * confirmed.difference:+.2f}"),
        minus(ends((100 * confirmed.difference_ci[0], 100 * confirmed.difference_ci[1]), "+.2f", " to ")),
    ]


def _row(row: ModelRow) -> list[str]:
    return [
        *(row.name, row.precision, f"{row.speedup:g}x", f"{100 * row.metric:.2f}", minus(f"{100 * row.drop:+.2f}")),
        minus(ends((100 * row.drop_ci[0], 100 * row.drop_ci[1]), "+.2f", " to ")),
        *(f"{row.parameters / 1e6:.2f}M", f"{row.flops_speedup:.2f}x", times(row.measured_speedup), ends(row.ci)),
        speed(row.over_plain),
    ]
