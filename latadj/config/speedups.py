"""Speedups as people write them: ``3``, ``1..5``, ``1..5:0.5`` or ``[1,1.5,2]``."""

import re
from decimal import Decimal
from typing import Any


def parse_speedups(value: Any) -> list[float]:
    """Speedups out of ``3``, ``1..5``, ``1..5:0.5`` or ``[1,1.5,2]``.

    Raises
    ------
    ValueError
        if it is none of these, a speedup is below 1, or a range runs backwards.
    """
    try:
        if isinstance(value, str) and ".." in value:
            found = _range(value)
        elif isinstance(value, (list, tuple)):
            found = [float(item) for item in value]
        elif isinstance(value, bool) or value is None:
            raise ValueError
        else:
            found = [float(value)]
    except (ValueError, TypeError, ArithmeticError):
        found = []
    if not found or not all(1.0 <= speedup < float("inf") for speedup in found):
        shown = "[" + ",".join(map(str, value)) + "]" if isinstance(value, (list, tuple)) else value
        raise ValueError(
            f"speedup={shown}: expected a number >= 1, a rising range such as 1..5 or 1..5:0.5, or a list [1,1.5,2]"
        )
    return found


def one_speedup(value: Any, command: str) -> float:
    """The speedup that a command is to run at.

    Raises
    ------
    ValueError
        if there are several, or it is none at all.
    """
    speedups = parse_speedups(value)
    if len(speedups) != 1:
        raise ValueError(f"speedup={value}: {command} takes one speedup; `latadj sweep` takes several")
    return speedups[0]


def _range(text: str) -> list[float]:
    match = re.fullmatch(r"\s*([\d.]+?)\.\.([\d.]+)(?::([\d.]+))?\s*", text)
    if not match:
        raise ValueError(text)
    # Decimal steps, so that 1..2:0.1 holds 1.3 and not 1.3000000000000003.
    low, high, step = (Decimal(part or "1") for part in match.groups())
    if step <= 0 or high < low or (high - low) / step > 1000:
        raise ValueError(text)
    return [float(low + step * index) for index in range(int((high - low) / step) + 1)]
