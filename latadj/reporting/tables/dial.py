"""The profiles of a dial."""

from typing import Any

from latadj.elimination.dial import Dial
from latadj.reporting.table import Document, Table

MOST_COLUMNS = 12  # layers that stand side by side; a terminal has no room for more


def document(dial: Dial, profiles: list[dict[str, Any]]) -> Document:
    """Layer ACC and profiles: a line each, or a column where a line would not fit.

    Parameters
    ----------
    profiles : with ``speedup``, ``keep``, ``flops_speedup`` and ``predicted``
    """
    costs = ["FLOPs", *(["predicted"] if dial.target == "latency" else [])]
    lines = [
        ["speedup", *(f"layer {layer}" for layer in range(1, dial.layers + 1)), *costs],
        ["layer ACC", *(f"{value:.2f}" for value in dial.layer_acc), *("" for _ in costs)],
    ]
    for profile in profiles:
        keep = [f"{ratio:.2f}" for ratio in profile["keep"]]
        if dial.reads == "pooled":
            keep[-1] = "pooled"
        times = (profile["flops_speedup"], profile["predicted"])
        lines.append([f"{profile['speedup']:g}x", *keep, *(f"{value:.2f}x" for value in times[: len(costs)])])
    if dial.layers > MOST_COLUMNS:
        lines = [list(column) for column in zip(*lines, strict=True)]
    title = f"Keep ratios, profile={dial.profile_type}"
    if dial.shapes[0].causal:
        title += f"; {dial.window.text()}"
    end = f"Speedups end at {dial.reach():.2f}x here, where FLOPs are cut {dial.max_flops:g}x."
    return Document(
        [Table.of_cells(title, lines[0], lines[1:], left=0)], [end] if dial.reach() < dial.max_speedup else []
    )
