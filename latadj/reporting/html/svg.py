"""Charts as inline SVG for :mod:`latadj.reporting.html.page`, whose colours they take.

Pure functions of numbers; every chart has a title that a screen reader reads out, and every point a tooltip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from latadj.reporting.html.page import text

SERIES = 6  # hues that page.css has
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 18.0, 14.0, 56.0


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    x, y : points; a y of None leaves a gap
    low, high : ends of each point's interval, drawn as a band; None for none
    dashed : for what was predicted or asked for rather than measured
    dots : mark each point
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    dashed: bool = False
    dots: bool = True


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
    baseline: float | None = None,
    y_range: tuple[float, float] | None = None,
    caption: str = "",
    width: int = 560,
    height: int = 340,
) -> str:
    """A ``<figure>`` of lines with interval bands.

    Parameters
    ----------
    diagonal : dotted line of y = x
    baseline : y of a dotted line across
    y_range : what the y axis shows; None for what there is

    Raises
    ------
    ValueError
        if there is no point, or more series than hues.
    """
    if len(series) > SERIES:
        raise ValueError(f"{len(series)} lines in {title!r}: a chart has {SERIES} hues")
    xs = [x for line in series for x in line.x]
    ys = [y for line in series for part in (line.y, line.low or (), line.high or ()) for y in part if y is not None]
    if not xs or not ys:
        raise ValueError(f"nothing to draw in {title!r}")
    ys += [baseline] if baseline is not None else []
    x_ticks, y_ticks = _ticks(min(xs), max(xs), 7), _ticks(*(y_range or (min(ys), max(ys))), 6)
    right, bottom = width - _RIGHT, height - _BOTTOM
    across = _Scale(min(xs), max(xs), _LEFT, right)
    low, high = y_range or (min(y_ticks[0], *ys), max(y_ticks[-1], *ys))
    up = _Scale(low, high, bottom, _TOP)
    parts = [
        f'<line class="axis" x1="{_LEFT:g}" x2="{right:g}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>'
        f'<text x="{_LEFT - 8:g}" y="{up(y):.1f}" dy="0.32em" text-anchor="end">{y:g}</text>'
        for y in y_ticks
        if low <= y <= high
    ]
    parts += [
        f'<text x="{across(x):.1f}" y="{bottom + 21:g}" text-anchor="middle">{x:g}</text>'
        for x in x_ticks
        if min(xs) <= x <= max(xs)
    ]
    parts.append(f'<text x="{(_LEFT + right) / 2:g}" y="{height - 8}" text-anchor="middle">{text(x_label)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="15" y="{middle:g}" text-anchor="middle" transform="rotate(-90 15 {middle:g})">{text(y_label)}</text>'
    )
    if diagonal:
        start, stop = max(min(xs), low), min(max(xs), high)
        if start < stop:
            parts.append(
                f'<path class="guide" d="M{across(start):.1f} {up(start):.1f}L{across(stop):.1f} {up(stop):.1f}"/>'
            )
    if baseline is not None:
        parts.append(f'<path class="guide" d="M{_LEFT:g} {up(baseline):.1f}H{right:g}"/>')
    for number, line in enumerate(series, start=1):
        points = [(across(x), up(y)) for x, y in zip(line.x, line.y, strict=True) if y is not None]
        group = [
            _band(line, across, up),
            f'<path class="line{" dashed" * line.dashed}" d="{_path(line, across, up)}"/>',
        ]
        if line.dots or len(points) == 1:
            group += [
                f'<circle class="dot" cx="{across(x):.1f}" cy="{up(y):.1f}" r="4"><title>'
                f"{text(_said(line, index))}</title></circle>"
                for index, (x, y) in enumerate(zip(line.x, line.y, strict=True))
                if y is not None
            ]
        parts.append(f'<g class="s{number}">{"".join(group)}</g>')
    legend = "".join(
        f'<li class="s{number}{" dashed" * line.dashed}">{text(line.name)}</li>'
        for number, line in enumerate(series, start=1)
    )
    return _figure(parts, title, caption, width, height, f'<ul class="legend">{legend}</ul>')


def heat_map(
    values: Sequence[Sequence[float | None]],
    *,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    x_label: str = "",
    y_label: str = "",
    written: str = "{:.0%}",
    low: float = 0.0,
    high: float = 1.0,
    caption: str = "",
    width: int = 560,
) -> str:
    """A ``<figure>`` of a grid of numbers, each stronger in hue the nearer it is to ``high``.

    Parameters
    ----------
    values : (rows, columns); None leaves a hole
    written : how a number is written in its cell and tooltip; "" leaves the cells bare
    """
    left, top, tall = _LEFT, 8.0, 34.0
    wide = (width - left - 4) / max(len(columns), 1)
    bottom = top + tall * len(rows)
    parts = []
    for i, row in enumerate(values):
        y = top + i * tall
        parts.append(
            f'<text x="{left - 8:g}" y="{y + tall / 2:g}" dy="0.32em" text-anchor="end">{text(rows[i])}</text>'
        )
        for j, value in enumerate(row):
            box = f'x="{left + j * wide + 1:.1f}" y="{y + 1:g}" width="{wide - 2:.1f}" height="{tall - 2:g}" rx="4"'
            if value is None:
                parts.append(f'<rect class="hole" {box}/>')
                continue
            strength = min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0)
            shown = written.format(value) if written else f"{value:g}"
            said = text(f"{rows[i]}, {columns[j]}: {shown}")
            parts.append(
                f'<g><title>{said}</title><rect class="cell-ground" {box}/>'
                f'<rect class="cell" {box} fill-opacity="{strength:.3f}"/>'
                + (
                    f'<text class="small {"on-strong" if strength > 0.6 else "on-weak"}" '
                    f'x="{left + (j + 0.5) * wide:.1f}" y="{y + tall / 2:g}" dy="0.32em" text-anchor="middle">'
                    f"{text(shown)}</text>"
                    if written and wide >= 30
                    else ""
                )
                + "</g>"
            )
    every = max(1, round(44 / wide))
    parts += [
        f'<text x="{left + (j + 0.5) * wide:.1f}" y="{bottom + 19:g}" text-anchor="middle">{text(name)}</text>'
        for j, name in enumerate(columns)
        if j % every == 0
    ]
    height = bottom + (52 if x_label else 28)
    if x_label:
        parts.append(f'<text x="{(left + width) / 2:g}" y="{height - 6:g}" text-anchor="middle">{text(x_label)}</text>')
    if y_label:
        middle = (top + bottom) / 2
        turned = f'transform="rotate(-90 15 {middle:g})"'
        parts.append(f'<text x="15" y="{middle:g}" text-anchor="middle" {turned}>{text(y_label)}</text>')
    return _figure(parts, title, caption, width, height, "")


class _Scale:
    """From data to the drawing."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.start = low, start
        self.by = (stop - start) / ((high - low) or 1.0)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.by


def _ticks(low: float, high: float, most: int) -> list[float]:
    return [round(float(tick), 10) for tick in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


def _path(line: Series, across: _Scale, up: _Scale) -> str:
    """Path of a line, interrupted at gaps."""
    steps, pen_up = [], True
    for x, y in zip(line.x, line.y, strict=True):
        if y is not None:
            steps.append(f"{'M' if pen_up else 'L'}{across(x):.1f} {up(y):.1f}")
        pen_up = y is None
    return "".join(steps)


def _band(line: Series, across: _Scale, up: _Scale) -> str:
    if line.low is None or line.high is None:
        return ""
    ends = [
        (across(x), up(a), up(b))
        for x, a, b in zip(line.x, line.low, line.high, strict=True)
        if a is not None and b is not None
    ]
    there = " ".join(f"{x:.1f},{b:.1f}" for x, _, b in ends)
    back = " ".join(f"{x:.1f},{a:.1f}" for x, a, _ in reversed(ends))
    return f'<polygon class="band" points="{there} {back}"/>' if ends else ""


def _said(line: Series, index: int) -> str:
    """A point in words."""
    said = f"{line.name}, {line.x[index]:g}: {line.y[index]:.4g}"
    low = line.low[index] if line.low else None
    high = line.high[index] if line.high else None
    return said if low is None or high is None else f"{said} ({low:.4g} to {high:.4g})"


def _figure(parts: list[str], title: str, caption: str, width: float, height: float, legend: str) -> str:
    said = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    drawn = "\n".join(parts)
    return (
        f'<figure class="chart">{legend}<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{text(title)}">'
        f"\n{drawn}\n</svg>{said}</figure>"
    )
