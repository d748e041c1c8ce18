"""Sentences about where numbers were measured, which stand under the tables of every result."""

from collections.abc import Sequence
from typing import Any


def measured_on(where: dict[str, Any], *more: str) -> str:
    """Processor and threads, and what else matters."""
    return ", ".join([str(where["processor"]), f"{where['threads']} threads", *more]) + "."


def warning(where: dict[str, Any]) -> list[str]:
    """That the machine was not quiet, if so."""
    text = (where.get("quiet") or {}).get("warning")
    return [f"Warning: {text}."] if text else []


def out_of_reach(unreachable: Sequence[float], reach: float | None) -> list[str]:
    """Speedups that the dial does not reach on this device, if there are any."""
    names = ", ".join(f"{speedup:g}x" for speedup in unreachable)
    return [f"Out of reach on this device: {names}; the dial ends at {reach or 0:.2f}x."] if names else []
