"""Charts that only a report needs: the frontier, and where contribution lies. Inline SVG in the page's colours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from latadj.reporting.html.page import text

Scale = Callable[[float], float]
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 30.0, 24.0, 56.0
# Cells of a layer, from the strongest tokens to the weakest; finer ones could not be told apart.
MOST_RANKS = 25
# Times an equal share: the strongest hue and the weakest, in powers of two.
_STRONG, _WEAK = 2.0, -2.0


@dataclass(frozen=True)
class Point:
    """A point with its intervals, (low, high) or None, and what is written beside it."""

    x: float
    y: float
    label: str
    said: str
    x_ci: tuple[float, float] | None = None
    y_ci: tuple[float, float] | None = None


@dataclass(frozen=True)
class Comparison:
    """Another method at the same x."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def frontier(
    points: Sequence[Point],
    *,
    title: str,
    x_label: str,
    y_label: str,
    line: tuple[float, str],
    others: Sequence[Comparison] = (),
    logarithmic: bool = False,
    caption: str = "",
    width: int = 560,
    height: int = 360,
) -> str:
    """A ``<figure>`` of quality against speedup, with a band and whiskers of intervals.

    Parameters
    ----------
    line : y of the full model and its name
    logarithmic : of y, where something is many times as bad as the rest
    """
    level, level_name = line
    xs = [value for point in points for value in (point.x, *(point.x_ci or ()))]
    ys = [level, *(value for point in points for value in (point.y, *(point.y_ci or ())))]
    ys += [value for other in others for value in other.y]
    x_ticks = _ticks(min(xs), max(xs), 7)
    y_ticks = _decades(min(ys), max(ys)) if logarithmic else _ticks(min(ys), max(ys), 6)
    bend = math.log if logarithmic else float
    lowest, highest = (bend(end) for end in (min(*ys, *y_ticks), max(*ys, *y_ticks)))
    right, bottom = width - _RIGHT, height - _BOTTOM

    def across(value: float) -> float:
        return _LEFT + (value - x_ticks[0]) / ((x_ticks[-1] - x_ticks[0]) or 1.0) * (right - _LEFT)

    def up(value: float) -> float:
        return bottom - (bend(value) - lowest) / ((highest - lowest) or 1.0) * (bottom - _TOP)

    parts = [
        f'<line class="axis" x1="{_LEFT:g}" x2="{right:g}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>'
        f'<text x="{_LEFT - 8:g}" y="{up(y):.1f}" dy="0.32em" text-anchor="end">{y:g}</text>'
        for y in y_ticks
    ]
    parts += [f'<text x="{across(x):.1f}" y="{bottom + 21:g}" text-anchor="middle">{x:g}</text>' for x in x_ticks]
    middle = (_TOP + bottom) / 2
    parts += [
        f'<text x="{(_LEFT + right) / 2:g}" y="{height - 8}" text-anchor="middle">{text(x_label)}</text>',
        _upright(middle, y_label),
        f'<path class="guide strong" d="M{_LEFT:g} {up(level):.1f}H{right:g}"/>',
    ]
    parts += [_other(number, other, across, up) for number, other in enumerate(others, start=2)]
    banded = [point for point in points if point.y_ci is not None]
    there = " ".join(f"{across(point.x):.1f},{up((point.y_ci or (0, 0))[1]):.1f}" for point in banded)
    back = " ".join(f"{across(point.x):.1f},{up((point.y_ci or (0, 0))[0]):.1f}" for point in reversed(banded))
    path = "L".join(f"{across(point.x):.1f} {up(point.y):.1f}" for point in points)
    group = [f'<polygon class="band" points="{there} {back}"/>', f'<path class="line" d="M{path}"/>']
    for point in points:
        x, y = across(point.x), up(point.y)
        if point.x_ci is not None:
            low, high = across(point.x_ci[0]), across(point.x_ci[1])
            ends = f"M{low:.1f} {y - 4:.1f}v8M{high:.1f} {y - 4:.1f}v8"
            group.append(f'<path class="whisker" d="M{low:.1f} {y:.1f}H{high:.1f}{ends}"/>')
        group.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{text(point.said)}</title></circle>'
            f'<text class="mark" x="{x + 6:.1f}" y="{y - 9:.1f}">{text(point.label)}</text>'
        )
    parts.append(f'<g class="s1">{"".join(group)}</g>')
    names = [("s1", "this checkpoint, with 95% intervals"), ("guide-key", level_name)]
    names += [(f"s{number} dashed", other.name) for number, other in enumerate(others, start=2)]
    legend = "".join(f'<li class="{kind}">{text(name)}</li>' for kind, name in names)
    return _figure(parts, title, caption, width, height, f'<ul class="legend">{legend}</ul>')


def contribution_map(
    by_rank: Sequence[Sequence[float]], layer_acc: Sequence[float], *, title: str, caption: str = "", width: int = 560
) -> str:
    """A ``<figure>``: contribution of tokens from the strongest to the weakest in each layer, with layer ACC.

    Parameters
    ----------
    by_rank : (layers, ranks) contribution in times an equal share
    layer_acc : effective fraction of tokens in each layer, written at the right and marked in the row
    """
    shares = np.asarray(by_rank, dtype=float)
    cells = [part.mean(axis=1) for part in np.array_split(shares, min(MOST_RANKS, shares.shape[1]), axis=1)]
    grid = np.stack(cells, axis=1)
    layers, ranks = grid.shape
    left, right, top = _LEFT, width - 58.0, 8.0
    tall = max(11.0, min(30.0, 330.0 / layers))
    wide, bottom = (right - left) / ranks, top + tall * layers
    every = max(1, round(20 / tall))
    parts = []
    for layer, (row, acc) in enumerate(zip(grid, layer_acc, strict=True)):
        y = top + layer * tall
        if layer % every == 0:
            parts.append(
                f'<text x="{left - 8:g}" y="{y + tall / 2:.1f}" dy="0.32em" text-anchor="end">{layer + 1}</text>'
                f'<text x="{right + 10:g}" y="{y + tall / 2:.1f}" dy="0.32em">{acc:.2f}</text>'
            )
        parts.append(
            f'<rect class="cell-ground" x="{left:g}" y="{y:.1f}" width="{right - left:g}" height="{tall - 1:.1f}"/>'
        )
        for rank, value in enumerate(row):
            strength = (np.log2(np.clip(value, 2**_WEAK, 2**_STRONG)) - _WEAK) / (_STRONG - _WEAK)
            low, high = 100 * rank / ranks, 100 * (rank + 1) / ranks
            said = f"layer {layer + 1}, strongest {low:.0f}% to {high:.0f}%: {value:.2f} times an equal share"
            parts.append(
                f'<rect class="cell" x="{left + rank * wide:.1f}" y="{y:.1f}" width="{wide:.1f}" '
                f'height="{tall - 1:.1f}" fill-opacity="{strength:.2f}"><title>{said}</title></rect>'
            )
        x = left + acc * (right - left)
        parts.append(f'<path class="acc" d="M{x:.1f} {y:.1f}v{tall - 1:.1f}"/>')
    names = {0.0: ("start", "strongest"), 0.5: ("middle", "half"), 1.0: ("end", "weakest")}
    parts += [
        f'<text x="{left + at * (right - left):.1f}" y="{bottom + 19:.1f}" text-anchor="{anchor}">{name}</text>'
        for at, (anchor, name) in names.items()
    ]
    middle = (top + bottom) / 2
    parts += [
        _upright(middle, "layer"),
        f'<text x="{right + 10:g}" y="{bottom + 19:.1f}">ACC</text>',
    ]
    return _figure(parts, title, caption, width, bottom + 30, "")


def _other(number: int, other: Comparison, across: Scale, up: Scale) -> str:
    """A dashed line in a hue of its own."""
    path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in zip(other.x, other.y, strict=True))
    dots = "".join(
        f'<circle class="dot" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3"><title>{text(other.name)}: {y:.4g}</title>'
        "</circle>"
        for x, y in zip(other.x, other.y, strict=True)
    )
    return f'<g class="s{number}"><path class="line dashed" d="M{path}"/>{dots}</g>'


def _upright(middle: float, said: str) -> str:
    """Name of a y axis."""
    turned = f'transform="rotate(-90 15 {middle:g})"'
    return f'<text x="15" y="{middle:g}" text-anchor="middle" {turned}>{text(said)}</text>'


def _ticks(low: float, high: float, most: int) -> list[float]:
    return [round(float(tick), 10) for tick in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


def _decades(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis, 2, 3, 5, 10, 20 and so on, just outside of what there is."""
    marks = [mark * 10.0**power for power in range(-3, 7) for mark in (1, 2, 3, 5)]
    inside = [mark for mark in marks if low <= mark <= high]
    below, above = [mark for mark in marks if mark < low][-1:], [mark for mark in marks if mark > high][:1]
    return [*below, *inside, *above]


def _figure(parts: list[str], title: str, caption: str, width: float, height: float, legend: str) -> str:
    said = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    drawn = "\n".join(parts)
    return (
        f'<figure class="chart">{legend}<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{text(title)}">'
        f"\n{drawn}\n</svg>{said}</figure>"
    )
