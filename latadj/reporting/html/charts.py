"""Line charts as inline SVG in the page's colours.

Hand-written, since matplotlib's SVG of the same chart takes 18 KB where this takes 3.4, has no tooltips, and fixes the
size of its text, which is then 9 pixels high on a phone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from latadj.reporting.html.page import text

_LEGEND = '<ul class="legend">{}</ul>'
SERIES = 6  # hues that page.css has
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 30.0, 24.0, 56.0
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
