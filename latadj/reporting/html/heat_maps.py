"""Grids of shaded cells as inline SVG: who is kept, and where contribution lies."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from latadj.reporting.html.charts import axis_names, figure
from latadj.reporting.html.page import text

_LEFT, _TOP = 66.0, 8.0
# Cells of a layer, from the strongest tokens to the weakest; finer ones could not be told apart.
MOST_RANKS = 25
# Times an equal share: the strongest hue and the weakest, in powers of two.
_STRONG, _WEAK = 2.0, -2.0


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
    bottom = _TOP + tall * len(rows)
    parts = []
    for place, row in enumerate(values):
        y = _TOP + place * tall
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
    parts.append(axis_names(x_label, y_label, (_LEFT + width) / 2, (_TOP + bottom) / 2, height - 6))
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
    wide, bottom = (right - _LEFT) / ranks, _TOP + tall * layers
    every = max(1, round(20 / tall))
    parts = []
    for layer, (row, acc) in enumerate(zip(grid, layer_acc, strict=True)):
        y, height = _TOP + layer * tall, f'height="{tall - 1:.1f}"'
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
    parts.append(axis_names("", "layer", 0, (_TOP + bottom) / 2, 0))
    return figure(parts, title, caption, width, bottom + 30)


def _row_name(y: float, name: str) -> str:
    return f'<text x="{_LEFT - 8:g}" y="{y:.1f}" dy="0.32em" text-anchor="end">{text(name)}</text>'
