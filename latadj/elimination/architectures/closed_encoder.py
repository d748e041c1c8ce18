"""Encoders whose forwards hand on no arguments that they do not know: what must go on travels in context variables."""

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.encoders import Encoder

# What the base hands its encoder in this thread's pass: transformers' own forward in between drops it.
_HANDED: ContextVar[Mapping[str, Any]] = ContextVar("latadj_handed", default={})  # noqa: B039 never mutated
# What its head tells the base in this thread's pass; see ``LAST``.
_TOLD: ContextVar[int | None] = ContextVar("latadj_told", default=None)


class ClosedEncoder(Encoder):
    """An encoder between whose base and layers stands a module, ``encoder``, that the base hands nothing of ours."""

    in_graphs = False

    # What runs instead of the forward of ``encoder``: it hands on what :func:`handed` gives.
    encoder_forward: Callable[..., Any]

    def heads(self, model: PreTrainedModel, reads: str) -> Iterator[tuple[nn.Module, str, Any]]:
        yield self.base(model).encoder, "forward", self.encoder_forward
        yield from ((module, name, read_first) for module, name, _ in super().heads(model, reads))

    def told(self) -> int | None:
        return _TOLD.get()

    def run(self, forward: Callable[..., Any], args: Any, kwargs: Any, handed: Mapping[str, Any]) -> Any:
        token = _HANDED.set(handed)
        try:
            return forward(*args, **kwargs)
        finally:
            _HANDED.reset(token)


def handed() -> Mapping[str, Any]:
    """What the base of this thread's pass hands to its layers; nothing outside a pass that eliminates."""
    return _HANDED.get()


class Handed(dict[str, Any]):
    """Arguments for the layers, in the place of one that an encoder hands on without a look at it."""


def unpacked(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A layer's arguments, with those that :class:`Handed` carried among them."""
    for name, value in kwargs.items():
        if isinstance(value, Handed):
            return {**kwargs, name: None, **value}
    return kwargs


def read_first(model: Any, *args: Any, **kwargs: Any) -> Any:
    """A classifier's forward, which tells the base that it reads one position of each text."""
    token = _TOLD.set(0)
    try:
        return type(model).forward(model, *args, **kwargs)
    finally:
        _TOLD.reset(token)
