"""Speedups as people write them: ``3``, ``1..5``, ``1..5:0.5`` or ``[1,1.5,2]``."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from latadj.config.fields import shown


def parse_speedups(value: Any) -> list[float]:
    """Speedups out of ``3``, ``1..5``, ``1..5:0.5`` or ``[1,1.5,2]``.

    Raises
    ------
    ValueError
        if it is none of these, a speedup is below 1, or a range runs backwards.
    """
    try:
        if isinstance(value, str) and ".." in value:
            speedups = _range(value)
        elif isinstance(value, (list, tuple)):
            speedups = [float(item) for item in value]
        elif isinstance(value, bool) or value is None:
            raise ValueError
        else:
            speedups = [float(value)]
    except (ValueError, TypeError, ArithmeticError):
        speedups = []
    if not speedups or not all(1.0 <= speedup < float("inf") for speedup in speedups):
        raise ValueError(
            f"speedup={shown(value)}: expected a number >= 1, a rising range such as 1..5 or 1..5:0.5, "
            "or a list [1,1.5,2]"
        )
    return speedups


def one_speedup(command: str, optional: bool = False) -> Callable[[Any], float | None]:
    """How the one speedup of a command is read; it raises ``ValueError`` if there are several, or none.

    Parameters
    ----------
    optional : whether None stays None
    """

    def parse(value: Any) -> float | None:
        if value is None and optional:
            return None
        speedups = parse_speedups(value)
        if len(speedups) != 1:
            raise ValueError(f"speedup={value}: {command} takes one speedup; `latadj sweep` takes several")
        return speedups[0]

    return parse


def shown_speedups(speedups: Sequence[float]) -> str:
    """Speedups as they may be written."""
    written = [f"{speedup:g}" for speedup in speedups]
    return written[0] if len(written) == 1 else shown(written)


def _range(text: str) -> list[float]:
    match = re.fullmatch(r"\s*([\d.]+?)\.\.([\d.]+)(?::([\d.]+))?\s*", text)
    if not match:
        raise ValueError(text)
    # Decimal steps, so that 1..2:0.1 holds 1.3 and not 1.3000000000000003.
    low, high, step = (Decimal(part or "1") for part in match.groups())
    if step <= 0 or high < low or (high - low) / step > 1000:
        raise ValueError(text)
    return [float(low + step * index) for index in range(int((high - low) / step) + 1)]
