"""The profiles of a calibrated dial, as `latadj calibrate` writes and shows them."""

import logging
from collections.abc import Sequence
from typing import Any

from latadj.elimination.cost import width_of
from latadj.elimination.dial import Dial
from latadj.elimination.level_dials import level_gain
from latadj.elimination.levels import Level
from latadj.reporting.table import Document, Table
from latadj.utils.serialization import unstructure

log = logging.getLogger("latadj")
SHOWN = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
MOST_COLUMNS = 6  # layers that stand side by side, with three columns beside them; a terminal has no room for more


def profiles_shown(dial: Dial) -> list[dict[str, Any]]:
    """The dial's profiles at the speedups worth showing, with what each costs."""
    shown, whole = [], Level(tuple(s.heads for s in dial.shapes), tuple(s.neurons for s in dial.shapes))
    for speedup in SHOWN:
        if speedup > dial.max_speedup:
            break
        try:
            profile = dial.profile(speedup)
        except ValueError as error:  # texts of a few tokens cannot be cut far
            log.info("%s", error)
            break
        drop, level = dial.drop_of(profile), profile.level or whole
        shown.append(
            {
                "speedup": speedup,
                "keep": list(profile.keep),
                "short_length": profile.short_length,
                "whole_length": profile.whole_length,
                "level": unstructure(profile.level),
                "width": width_of(dial.shapes, profile.level),
                "heads": _shares(level.heads, whole.heads),
                "neurons": _shares(level.neurons, whole.neurons),
                "by_width": level_gain(dial, profile.level),
                "flops_speedup": dial.speedup_of(profile),
                "predicted": dial.predicted(profile),
                "drop": None if drop is None else drop.drop,
                "drop_ci": None if drop is None else [drop.low, drop.high],
            }
        )
    return shown


def _shares(counts: Sequence[int], whole: Sequence[int]) -> list[float]:
    """Counts as shares of what there is; a pruned layer may have none."""
    return [count / max(most, 1) for count, most in zip(counts, whole, strict=True)]


def profiles_document(dial: Dial, profiles: list[dict[str, Any]]) -> Document:
    """Layer ACC and profiles: a line each, or a column where a line would not fit.

    Parameters
    ----------
    profiles : as of :func:`profiles_shown`
    """
    costs = ["FLOPs", *(["predicted"] if dial.target == "latency" else []), *(["drop", "95%"] if dial.drops else [])]
    least = any(profile["short_length"] for profile in profiles)
    whole = any(profile["whole_length"] for profile in profiles)
    narrow = any(profile["width"] < 1 for profile in profiles)
    lengths = ["short length"] * least + ["whole length"] * whole + ["width"] * narrow
    lines = [
        ["speedup", *map(str, range(1, dial.layers + 1)), *lengths, *costs],
        ["layer ACC", *(f"{value:.2f}" for value in dial.layer_acc), *("" for _ in (*lengths, *costs))],
    ]
    for profile in profiles:
        keep = [f"{ratio:.2f}" for ratio in profile["keep"]]
        if dial.reads == "pooled":
            keep[-1] = "pooled"
        keep += [f"{profile['short_length']:.1f}"] * least + [f"{profile['whole_length']:.1f}"] * whole
        keep += [f"{100 * profile['width']:.0f}%"] * narrow
        values = [f"{profile['flops_speedup']:.2f}x"]
        values += [f"{profile['predicted']:.2f}x"] if dial.target == "latency" else []
        if profile["drop"] is None:
            values += ["", ""] if dial.drops else []  # beyond what was measured
        else:
            drop, low, high = (100 * value for value in (profile["drop"], *profile["drop_ci"]))
            values += [f"{drop:+.2f}", f"{low:+.1f} to {high:+.1f}"]
        lines.append([f"{profile['speedup']:g}x", *keep, *values])
    if len(lines[0]) > MOST_COLUMNS + 3:
        lines = [list(column) for column in zip(*lines, strict=True)]
    title = f"Keep ratios by layer, profile={dial.profile_type}"
    if dial.shapes[0].causal:
        title += f"; {dial.window.text()}"
    end = f"Speedups end at {dial.reach():.2f}x here, where FLOPs are cut {dial.max_flops:g}x."
    return Document(
        [Table.of_cells(title, lines[0], lines[1:], left=0)], [end] if dial.reach() < dial.max_speedup else []
    )
