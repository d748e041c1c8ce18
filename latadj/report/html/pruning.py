"""Sections about pruning: what is left of each layer, and pruned models beside the dial."""

from typing import Any

from latadj.report.cells import between, times
from latadj.report.comparison import ModelRow
from latadj.report.comparison_views import notes
from latadj.report.html.parts import Section, minus, note, speed
from latadj.report.html.sources import Sources
from latadj.report.page import table


def left(sources: Sources) -> Section | None:
    """What `latadj prune` left of each layer, and what it was worth; None where it was not run."""
    found = sources.prune
    if found is None:
        return None
    models, full = found["frontier"], found["full"]
    names = ["pruned" if model["budget"] is None else f"{model['budget']:g}" for model in models]
    rows = []
    for index in range(len(models[0]["layers"])):
        layers = [model["layers"][index] for model in models]
        rows.append([str(index + 1), *(cell for layer in layers for cell in _layer(layer))])
    share = f"{found['config']['prune']['confidence']:.0%}"
    head = ["layer", *(f"{what}, {name}" for name in names for what in ("heads", "neurons"))]
    structure = table(head, rows, numbers=set(range(1, len(head))), caption="What is left of each layer")
    worth = table(
        ["model", "parameters", "FLOPs", "measured", "judged by", "confirmed on", "confirmed difference", share],
        [_worth(name, model, full) for name, model in zip(names, models, strict=True)],
        numbers=set(range(1, 8)),
        caption=f"Against the full model: shares, and {found['metric'].replace('_', ' ')} on validation text",
    )
    out = [candidate for candidate in found["candidates"] if not candidate["kept"]]
    said = f"{len(out)} of {len(found['candidates'])} candidates went, judged by {found['objective']}."
    return Section("pruning", "Pruning: what is left", worth + structure + note(said))


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


def _layer(layer: dict[str, Any]) -> list[str]:
    return [f"{len(layer['heads'])} of {layer['of_heads']}", f"{layer['neurons']} of {layer['of_neurons']}"]


def _worth(name: str, model: dict[str, Any], full: dict[str, Any]) -> list[str]:
    judged, confirmed = model["judged"], model["confirmed"]
    low, high = confirmed["difference_ci"]
    return [
        name,
        *(f"{model['size'][key] / full[key]:.2f}x" for key in ("parameters", "flops")),
        times(model["measured_speedup"]),
        f"{100 * judged['full_metric']:.2f} → {100 * judged['metric']:.2f}",
        f"{100 * confirmed['full_metric']:.2f} → {100 * confirmed['metric']:.2f}",
        minus(f"{100 * confirmed['difference']:+.2f}"),
        minus(f"{100 * low:+.2f} to {100 * high:+.2f}"),
    ]


def _row(row: ModelRow) -> list[str]:
    return [
        *(row.name, row.precision, f"{row.speedup:g}x", f"{100 * row.metric:.2f}", minus(f"{100 * row.drop:+.2f}")),
        minus(between((100 * row.drop_ci[0], 100 * row.drop_ci[1]), "+.2f", " to ")),
        *(f"{row.parameters / 1e6:.2f}M", f"{row.flops_speedup:.2f}x", times(row.measured_speedup), between(row.ci)),
        speed(row.over_plain),
    ]
