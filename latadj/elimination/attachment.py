"""What is attached to a model, what a thread's passes do instead, and how a module's forward is exchanged."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MethodType
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from latadj.elimination.architectures import Architecture, architecture_of
from latadj.elimination.dial import Dial
from latadj.elimination.forward_state import EliminationOptions
from latadj.elimination.profiles import Profile
from latadj.elimination.topk.setting import TopKAttention

# On a base model its Elimination, on a layer its index.
MARK = "_latadj"
_FORWARD = "_latadj_forward"


@dataclass(frozen=True)
class Setting:
    """What the next forward pass is to do."""

    profile: Profile
    options: EliminationOptions


@dataclass
class Elimination:
    """What is attached to a base model; holds no module, so a model can be copied with it."""

    architecture: Architecture
    dial: Dial | None
    reads: str
    default: Setting
    topk: TopKAttention

    def setting(self) -> Setting:
        """The setting of this thread, or the model's default."""
        return _overrides.get().get(id(self), self.default)


# Settings of `with` blocks, by id of the Elimination: each thread and task sees its own.
_overrides: ContextVar[Mapping[int, Setting]] = ContextVar("latadj_overrides", default={})  # noqa: B039 never mutated


@contextmanager
def overriding(elimination: Elimination, setting: Setting) -> Iterator[None]:
    """Use a setting inside a ``with`` block, for this thread alone."""
    token = _overrides.set({**_overrides.get(), id(elimination): setting})
    try:
        yield
    finally:
        _overrides.reset(token)


def elimination_of(model: PreTrainedModel) -> Elimination | None:
    """What is attached to a model; None if nothing is."""
    try:
        base = architecture_of(model).base(model)
    except ValueError:  # of no architecture, so nothing can be attached
        return None
    elimination: Elimination | None = getattr(base, MARK, None)
    return elimination


def override_forward(module: nn.Module, forward: Any) -> None:
    """Run ``forward`` instead of a module's own."""
    # An instance attribute shadows the class's method; a bound method follows its module through copies.
    module.__dict__[_FORWARD] = module.__dict__.get("forward")
    module.__dict__["forward"] = MethodType(forward, module)


def restore_forward(module: nn.Module) -> None:
    """Undo :func:`override_forward`."""
    previous = module.__dict__.pop(_FORWARD)
    if previous is None:
        module.__dict__.pop("forward", None)
    else:
        module.__dict__["forward"] = previous


def previous_forward(module: nn.Module) -> Any:
    """What a module ran before :func:`override_forward`."""
    return module.__dict__[_FORWARD] or MethodType(type(module).forward, module)
