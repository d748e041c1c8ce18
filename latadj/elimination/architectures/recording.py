"""Elimination runs eagerly: what a forward that decides who survives does inside a graph, or where one is recorded."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., object])
_WHY = "elimination runs eagerly: leave fullgraph=True out, or detach the model first"


def eager(function: F) -> F:
    """Run a function outside any graph; a model compiled with ``fullgraph=True`` says why it cannot be."""
    disabled: F = torch.compiler.disable(function, reason=_WHY)  # type: ignore[no-untyped-call]
    return disabled


def refuse_recording(model: Any) -> None:
    """Refuse a pass that is recorded to run elsewhere: who survives is decided while it runs.

    Raises
    ------
    ValueError
    """
    if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        raise ValueError(
            f"{type(model).__name__} has elimination attached, which torch.export, torch.jit.trace and ONNX cannot "
            "record: call latadj.detach(model) before the export"
        )
