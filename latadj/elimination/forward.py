"""What runs instead of a model's and a layer's own forward while elimination is attached."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from inspect import signature
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.cost import ALL
from latadj.elimination.families import Family
from latadj.elimination.profile import Dial, Profile
from latadj.elimination.score import SCORES
from latadj.elimination.survivors import Call, Observer

MARK = "_latadj"
_ARGUMENT = "elimination"


@dataclass(frozen=True)
class Setting:
    """What the next forward pass is to do."""

    profile: Profile
    score: str
    observer: Observer | None = None


@dataclass
class Elimination:
    """What is attached to a base model; holds no module, so a model can be copied with it."""

    family: Family
    dial: Dial | None
    reads: str
    default: Setting

    def setting(self) -> Setting:
        """The setting of this thread, or the model's default."""
        return overrides.get().get(id(self), self.default)


# Settings made by `at_speedup` and `at_profile`, by id of the Elimination: each thread and task sees its own.
overrides: ContextVar[Mapping[int, Setting]] = ContextVar("latadj_overrides", default={})  # noqa: B039 never mutated


def override_forward(module: nn.Module, forward: Any) -> None:
    """Run ``forward`` instead of a module's own."""
    # An instance attribute shadows the class's method; a bound method follows its module through copies.
    module.__dict__[f"{MARK}_forward"] = module.__dict__.get("forward")
    module.__dict__["forward"] = MethodType(forward, module)


def restore_forward(module: nn.Module) -> None:
    """Undo :func:`override_forward`."""
    previous = module.__dict__.pop(f"{MARK}_forward")
    if previous is None:
        module.__dict__.pop("forward", None)
    else:
        module.__dict__["forward"] = previous


def _previous_forward(module: nn.Module) -> Any:
    return module.__dict__[f"{MARK}_forward"] or MethodType(type(module).forward, module)


def base_forward(base: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
    """Forward of a base model: opens the pass's state and hands it to the layers with the other arguments."""
    elimination: Elimination = getattr(base, MARK)
    setting = elimination.setting()
    forward = _previous_forward(base)
    if elimination.reads == ALL and not setting.profile.eliminates and setting.observer is None:
        return forward(*args, **kwargs)
    arguments = {**dict(zip(_parameters(base.__class__), args, strict=False)), **kwargs}
    inputs = arguments.get("input_ids") if arguments.get("input_ids") is not None else arguments.get("inputs_embeds")
    if inputs is None:
        return forward(*args, **kwargs)  # transformers says what is missing
    mask = arguments.get("attention_mask")
    if mask is not None and mask.ndim != 2:
        raise ValueError(f"attention_mask of {mask.ndim} dimensions: elimination needs (batch, length), or none")
    call = Call(
        keep=setting.profile.keep,
        mask=None if mask is None else mask.to(device=inputs.device, dtype=torch.bool),
        shape=(inputs.shape[0], inputs.shape[1]),
        device=inputs.device,
        reads=elimination.reads,
        score=SCORES[setting.score],
        observer=setting.observer,
    )
    if "attention_mask" in kwargs:
        kwargs["attention_mask"] = None  # who is real travels in the call; transformers need not build a mask
    return forward(*args, **kwargs, **{_ARGUMENT: (call, elimination.family)})


@cache
def _parameters(model_class: Any) -> tuple[str, ...]:
    return tuple(signature(model_class.forward).parameters)[1:]


def layer_forward(layer: Any, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Forward of one layer.

    Where the pooled position is read, (batch, n, width) or (word-vectors, width) to the same for the survivors: two
    dimensions where sequences differ in length, so that no padding is computed. The last layer gives (batch, 1,
    width). Where every position is read, (batch, n_0, width) to the same.
    """
    if kwargs.get(_ARGUMENT) is None:
        return _previous_forward(layer)(hidden, *args, **kwargs)
    call, family = kwargs[_ARGUMENT]
    run = partial(_restoring if call.reads == ALL else _packed, layer, call, family)
    if getattr(layer, "gradient_checkpointing", False) and layer.training:
        return layer._gradient_checkpointing_func(run, hidden)
    return run(hidden)


def _packed(layer: Any, call: Call, family: Family, hidden: Tensor) -> Tensor:
    """One layer whose output holds the survivors only."""
    index: int = getattr(layer, MARK)
    entering = call.entering[index]
    rows = hidden.flatten(0, -2)
    if index == 0 and entering.origin is not None:
        rows = rows.index_select(0, entering.origin)
    residual = entering.first(rows) if call.trims(index) else rows
    receive = partial(call.receive, index) if call.needs_scores(index) else None
    context = family.attend(layer, rows, residual if call.trims(index) else None, entering, receive)
    leaving = entering
    if call.eliminates(index):
        leaving, survivors = call.choose(index)
        context, residual = context.index_select(0, survivors), residual.index_select(0, survivors)
    call.entering[index + 1] = leaving
    rows = family.feed_forward(layer, family.project(layer, context, residual))
    if call.trims(index):
        return rows[:, None]
    return rows if leaving.ragged else leaving.frame(rows)


def _restoring(layer: Any, call: Call, family: Family, hidden: Tensor) -> Tensor:
    """One layer whose output has every position: the eliminated keep the state in which they were eliminated."""
    index: int = getattr(layer, MARK)
    entering = call.entering[index]
    everyone = hidden.flatten(0, 1)
    rows = everyone if entering.origin is None else everyone.index_select(0, entering.origin)
    receive = partial(call.receive, index) if call.needs_scores(index) else None
    attended = family.project(layer, family.attend(layer, rows, None, entering, receive), rows)
    leaving = entering
    if call.eliminates(index):
        everyone = _put_back(everyone, entering, attended)
        leaving, survivors = call.choose(index)
        leaving.origin = survivors if entering.origin is None else entering.origin.index_select(0, survivors)
        attended = attended.index_select(0, survivors)
    call.entering[index + 1] = leaving
    return _put_back(everyone, leaving, family.feed_forward(layer, attended)).view_as(hidden)


def _put_back(everyone: Tensor, alive: Any, rows: Tensor) -> Tensor:
    """``everyone``, (batch * n_0, width), with the word-vectors that are alive replaced by ``rows``."""
    return rows if alive.origin is None else everyone.index_copy(0, alive.origin, rows.to(everyone.dtype))
