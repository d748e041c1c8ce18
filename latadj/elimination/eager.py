"""Keeps what depends on who survives out of the graphs that torch.compile makes."""

from collections.abc import Callable
from typing import TypeVar

import torch

F = TypeVar("F", bound=Callable[..., object])
_WHY = "elimination runs eagerly: leave fullgraph=True out, or detach the model first"


def eager(function: F) -> F:
    """Run a function outside any graph; a model compiled with ``fullgraph=True`` says why it cannot be."""
    disabled: F = torch.compiler.disable(function, reason=_WHY)  # type: ignore[no-untyped-call]
    return disabled
