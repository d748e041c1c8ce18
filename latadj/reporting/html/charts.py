"""Line charts and grids of shaded cells as inline SVG in the page's colours.

Hand-written, since matplotlib's SVG of the same chart takes 18 KB where this takes 3.4, has no tooltips, and fixes the
size of its text, which is then 9 pixels high on a phone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from latadj.reporting.html.page import text

_LEGEND = '<ul class="legend">{}</ul>'
SERIES = 6  # hues that page.css has
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 30.0, 24.0, 56.0
_GRID_TOP = 8.0
# Cells of a layer, from the strongest tokens to the weakest; finer ones could not be told apart.
MOST_RANKS = 25
# Times an equal share: the strongest hue and the weakest, in powers of two.
_STRONG, _WEAK = 2.0, -2.0
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    x, y : points; a y of None leaves a gap
    low, high : ends of each point's interval, drawn as a band; None for none
    x_cis : intervals of x, drawn as whiskers; None for none
    labels : what is written at the points
    dashed : for what was predicted rather than measured, and for what a line is compared with
    dots : mark each point
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    x_cis: Sequence[tuple[float, float] | None] = ()
    labels: Sequence[str] = ()
    dashed: bool = False
    dots: bool = True


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
    baseline: tuple[float, str] | None = None,
    logarithmic: bool = False,
    caption: str = "",
    width: int = 560,
    height: int = 350,
) -> Markup:
    """A ``<figure>`` of lines with interval bands.

    Parameters
    ----------
    diagonal : dotted line of y = x
    baseline : y of a dashed line across, and its name
    logarithmic : of y, where something is many times as bad as the rest

    Raises
    ------
    ValueError
        if there is no point, or more series than hues.
    """
    if len(series) > SERIES:
        raise ValueError(f"{len(series)} lines in {title!r}: a chart has {SERIES} hues")
    xs = [x for line in series for x in (*line.x, *(end for ci in line.x_cis if ci for end in ci))]
    ys = [y for line in series for part in (line.y, line.low or (), line.high or ()) for y in part if y is not None]
    if not xs or not ys:
        raise ValueError(f"nothing to draw in {title!r}")
    ys += [baseline[0]] if baseline else []
    x_ticks = _ticks(min(xs), max(xs), 7)
    y_ticks = _decades(min(ys), max(ys)) if logarithmic else _ticks(min(ys), max(ys), 6)
    right, bottom = width - _RIGHT, height - _BOTTOM
    across = _scale(x_ticks[0], x_ticks[-1], _LEFT, right)
    up = _scale(min(*ys, *y_ticks), max(*ys, *y_ticks), bottom, _TOP, math.log if logarithmic else float)
    parts = [
        f'<line class="axis" x1="{_LEFT:g}" x2="{right:g}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>'
        f'<text x="{_LEFT - 8:g}" y="{up(y):.1f}" dy="0.32em" text-anchor="end">{y:g}</text>'
        for y in y_ticks
    ]
    parts += [f'<text x="{across(x):.1f}" y="{bottom + 21:g}" text-anchor="middle">{x:g}</text>' for x in x_ticks]
    parts += [axis_names(x_label, y_label, (_LEFT + right) / 2, (_TOP + bottom) / 2, height - 8)]
    if diagonal:
        start, stop = max(x_ticks[0], y_ticks[0]), min(x_ticks[-1], y_ticks[-1])
        parts.append(
            f'<path class="guide" d="M{across(start):.1f} {up(start):.1f}L{across(stop):.1f} {up(stop):.1f}"/>'
        )
    if baseline:
        parts.append(f'<path class="guide strong" d="M{_LEFT:g} {up(baseline[0]):.1f}H{right:g}"/>')
    parts += [f'<g class="s{number}">{_line(line, across, up)}</g>' for number, line in enumerate(series, start=1)]
    names = [(f"s{number}{' dashed' * line.dashed}", line.name) for number, line in enumerate(series, start=1)]
    names += [("guide-key", baseline[1])] if baseline else []
    return figure(parts, title, caption, width, height, names)


def figure(
    parts: Sequence[str],
    title: str,
    caption: str,
    width: float,
    height: float,
    legend: Sequence[tuple[str, str]] = (),
) -> Markup:
    """Parts of a drawing as a ``<figure>`` that a screen reader reads out the title of.

    Parameters
    ----------
    legend : class and name of each entry
    """
    names = "".join(f'<li class="{kind}">{text(name)}</li>' for kind, name in legend)
    return Markup(
        f'<figure class="chart">{_LEGEND.format(names) if names else ""}'
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{text(title)}">\n'
        + "\n".join(parts)
        + f"\n</svg>{f'<figcaption>{text(caption)}</figcaption>' if caption else ''}</figure>"
    )


def axis_names(x_label: str, y_label: str, middle_x: float, middle_y: float, y: float) -> str:
    """Names of the axes that have one."""
    turned = f'transform="rotate(-90 15 {middle_y:g})"'
    names = {f'x="{middle_x:g}" y="{y:g}"': x_label, f'x="15" y="{middle_y:g}" {turned}': y_label}
    return "".join(f'<text {at} text-anchor="middle">{text(name)}</text>' for at, name in names.items() if name)


def _line(line: Series, across: Scale, up: Scale) -> str:
    """Band, path, whiskers, dots and labels of a line."""
    steps, pen_up = [], True
    for x, y in zip(line.x, line.y, strict=True):
        if y is not None:
            steps.append(f"{'M' if pen_up else 'L'}{across(x):.1f} {up(y):.1f}")
        pen_up = y is None
    parts = [_band(line, across, up), f'<path class="line{" dashed" * line.dashed}" d="{"".join(steps)}"/>']
    single = sum(y is not None for y in line.y) == 1
    for index, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        if y is None:
            continue
        if line.x_cis and (ci := line.x_cis[index]):
            low, high, top = across(ci[0]), across(ci[1]), up(y) - 4
            ends = f"M{low:.1f} {top:.1f}v8M{high:.1f} {top:.1f}v8"
            parts.append(f'<path class="whisker" d="M{low:.1f} {up(y):.1f}H{high:.1f}{ends}"/>')
        if line.dots or single:
            tooltip = f"<title>{text(_in_words(line, index))}</title>"
            parts.append(f'<circle class="dot" cx="{across(x):.1f}" cy="{up(y):.1f}" r="4">{tooltip}</circle>')
        if line.labels:
            at = f'x="{across(x) + 6:.1f}" y="{up(y) - 9:.1f}"'
            parts.append(f'<text class="mark" {at}>{text(line.labels[index])}</text>')
    return "".join(parts)


def _band(line: Series, across: Scale, up: Scale) -> str:
    ends = [
        (across(x), up(low), up(high))
        for x, low, high in zip(line.x, line.low or (), line.high or (), strict=False)
        if low is not None and high is not None
    ]
    there = " ".join(f"{x:.1f},{high:.1f}" for x, _, high in ends)
    back = " ".join(f"{x:.1f},{low:.1f}" for x, low, _ in reversed(ends))
    return f'<polygon class="band" points="{there} {back}"/>' if ends else ""


def _in_words(line: Series, index: int) -> str:
    """A point, for its tooltip."""
    label = f" at {line.labels[index]}" if line.labels else ""
    words = f"{line.name}{label}, {line.x[index]:.4g}: {line.y[index]:.4g}"
    low = line.low[index] if line.low else None
    high = line.high[index] if line.high else None
    return words if low is None or high is None else f"{words} ({low:.4g} to {high:.4g})"


def _scale(low: float, high: float, start: float, stop: float, bend: Callable[[float], float] = float) -> Scale:
    """From data to the drawing."""
    by = (stop - start) / ((bend(high) - bend(low)) or 1.0)
    return lambda value: start + (bend(value) - bend(low)) * by


def _ticks(low: float, high: float, most: int) -> list[float]:
    return [round(float(tick), 10) for tick in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


def _decades(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis, 2, 3, 5, 10, 20 and so on, just outside of what there is."""
    marks = [mark * 10.0**power for power in range(-3, 7) for mark in (1, 2, 3, 5)]
    inside = [mark for mark in marks if low <= mark <= high]
    below, above = [mark for mark in marks if mark < low][-1:], [mark for mark in marks if mark > high][:1]
    return [*below, *inside, *above]


def heat_map(
    values: Sequence[Sequence[float | None]],
    *,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    x_label: str = "",
    y_label: str = "",
    caption: str = "",
    width: int = 560,
) -> Markup:
    """A ``<figure>`` of a grid of shares, each stronger in hue the nearer it is to 1.

    Parameters
    ----------
    values : (rows, columns); None leaves a hole
    """
    tall, wide = 34.0, (width - _LEFT - 4) / max(len(columns), 1)
    bottom = _GRID_TOP + tall * len(rows)
    parts = []
    for place, row in enumerate(values):
        y = _GRID_TOP + place * tall
        parts.append(_row_name(y + tall / 2, rows[place]))
        for column, value in enumerate(row):
            x = _LEFT + column * wide
            box = f'x="{x + 1:.1f}" y="{y + 1:g}" width="{wide - 2:.1f}" height="{tall - 2:g}" rx="4"'
            if value is None:
                parts.append(f'<rect class="hole" {box}/>')
                continue
            strength = min(max(value, 0.0), 1.0)
            written = ""
            if wide >= 30:
                kind = f"small {'on-strong' if strength > 0.6 else 'on-weak'}"
                at = f'x="{x + wide / 2:.1f}" y="{y + tall / 2:g}" dy="0.32em" text-anchor="middle"'
                written = f'<text class="{kind}" {at}>{value:.0%}</text>'
            parts.append(
                f"<g><title>{text(f'{rows[place]}, {columns[column]}: {value:.0%}')}</title>"
                f'<rect class="cell-ground" {box}/>'
                f'<rect class="cell" {box} fill-opacity="{strength:.3f}"/>{written}</g>'
            )
    every = max(1, round(44 / wide))
    parts += [
        f'<text x="{_LEFT + (column + 0.5) * wide:.1f}" y="{bottom + 19:g}" text-anchor="middle">{text(name)}</text>'
        for column, name in enumerate(columns)
        if column % every == 0
    ]
    height = bottom + (52 if x_label else 28)
    parts.append(axis_names(x_label, y_label, (_LEFT + width) / 2, (_GRID_TOP + bottom) / 2, height - 6))
    return figure(parts, title, caption, width, height)


def contribution_map(
    by_rank: Sequence[Sequence[float]], layer_acc: Sequence[float], *, title: str, caption: str = "", width: int = 560
) -> Markup:
    """A ``<figure>``: contribution of tokens from the strongest to the weakest in each layer, with layer ACC.

    Parameters
    ----------
    by_rank : (layers, ranks) contribution in times an equal share
    layer_acc : effective fraction of tokens in each layer, written at the right and marked in the row
    """
    shares = np.asarray(by_rank, dtype=float)
    parts_of = np.array_split(shares, min(MOST_RANKS, shares.shape[1]), axis=1)
    grid = np.stack([part.mean(axis=1) for part in parts_of], axis=1)
    layers, ranks = grid.shape
    right = width - 58.0
    tall = max(11.0, min(30.0, 330.0 / layers))
    wide, bottom = (right - _LEFT) / ranks, _GRID_TOP + tall * layers
    every = max(1, round(20 / tall))
    parts = []
    for layer, (row, acc) in enumerate(zip(grid, layer_acc, strict=True)):
        y, height = _GRID_TOP + layer * tall, f'height="{tall - 1:.1f}"'
        if layer % every == 0:
            parts.append(_row_name(y + tall / 2, str(layer + 1)))
            parts.append(f'<text x="{right + 10:g}" y="{y + tall / 2:.1f}" dy="0.32em">{acc:.2f}</text>')
        parts.append(f'<rect class="cell-ground" x="{_LEFT:g}" y="{y:.1f}" width="{right - _LEFT:g}" {height}/>')
        for rank, value in enumerate(row):
            strength = (np.log2(np.clip(value, 2**_WEAK, 2**_STRONG)) - _WEAK) / (_STRONG - _WEAK)
            ends = f"{100 * rank / ranks:.0f}% to {100 * (rank + 1) / ranks:.0f}%"
            tooltip = f"<title>layer {layer + 1}, strongest {ends}: {value:.2f} times an equal share</title>"
            box = f'x="{_LEFT + rank * wide:.1f}" y="{y:.1f}" width="{wide:.1f}" {height}'
            parts.append(f'<rect class="cell" {box} fill-opacity="{strength:.2f}">{tooltip}</rect>')
        parts.append(f'<path class="acc" d="M{_LEFT + acc * (right - _LEFT):.1f} {y:.1f}v{tall - 1:.1f}"/>')
    for at, anchor, name in ((0.0, "start", "strongest"), (0.5, "middle", "half"), (1.0, "end", "weakest")):
        x = _LEFT + at * (right - _LEFT)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 19:.1f}" text-anchor="{anchor}">{name}</text>')
    parts.append(f'<text x="{right + 10:g}" y="{bottom + 19:.1f}">ACC</text>')
    parts.append(axis_names("", "layer", 0, (_GRID_TOP + bottom) / 2, 0))
    return figure(parts, title, caption, width, bottom + 30)


def _row_name(y: float, name: str) -> str:
    return f'<text x="{_LEFT - 8:g}" y="{y:.1f}" dy="0.32em" text-anchor="end">{text(name)}</text>'
