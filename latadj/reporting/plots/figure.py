"""What all pictures share."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from latadj.utils.files import atomic_write

BLUE, GREY, ORANGE, GREEN = "#1f6fb4", "#6b6b6b", "#d9730d", "#2e8b57"


def new_figure(width: float = 8, height: float = 4.8, **options: Any) -> Figure:
    """An empty figure; it belongs to no window system."""
    return Figure(figsize=(width, height), dpi=150, **options)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all."""
    if figure.get_layout_engine() is None:
        figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def error_bars(values: Any, low: Any, high: Any) -> np.ndarray:
    """(2, points) lengths of error bars: below and above."""
    x = np.atleast_1d(values)
    return np.clip(np.array([x - np.atleast_1d(low), np.atleast_1d(high) - x]), 0, None)
