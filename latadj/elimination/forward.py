"""What runs instead of a model's and a layer's own forward while elimination is attached."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from inspect import signature
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from latadj.elimination.cost import ALL
from latadj.elimination.families import Family
from latadj.elimination.profile import Dial, Profile
from latadj.elimination.score import SCORES
from latadj.elimination.survivors import Call, Observer, gather, put_back

IMPLEMENTATION = "latadj"
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
    implementation: str

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
    arguments = signature(forward).bind_partial(*args, **kwargs).arguments if args else kwargs
    inputs = arguments.get("input_ids") if arguments.get("input_ids") is not None else arguments.get("inputs_embeds")
    if inputs is None:
        return forward(*args, **kwargs)  # transformers says what is missing
    mask = arguments.get("attention_mask")
    if mask is not None and mask.ndim != 2:
        raise ValueError(f"attention_mask of {mask.ndim} dimensions: elimination needs (batch, length), or none")
    call = Call(
        family=elimination.family,
        keep=setting.profile.keep,
        mask=None if mask is None else mask.to(device=inputs.device, dtype=torch.bool),
        shape=(inputs.shape[0], inputs.shape[1]),
        reads=elimination.reads,
        score=SCORES[setting.score],
        observer=setting.observer,
    )
    return forward(*args, **kwargs, **{_ARGUMENT: call})


def layer_forward(layer: Any, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Forward of one layer: (batch, n, width) to (batch, survivors, width); n stays where every position is read."""
    call: Call | None = kwargs.get(_ARGUMENT)
    if call is None:
        return _previous_forward(layer)(hidden, *args, **kwargs)
    run = partial(_restoring if call.reads == ALL else _packed, layer, call)
    if getattr(layer, "gradient_checkpointing", False) and layer.training:
        return layer._gradient_checkpointing_func(run, hidden)
    return run(hidden)


def _packed(layer: Any, call: Call, hidden: Tensor) -> Tensor:
    """One layer whose output holds the survivors only: (batch, n, width) to (batch, n', width)."""
    index: int = getattr(layer, MARK)
    entering = call.entering[index]
    queries = entering.first(hidden) if call.trims(index) else None
    residual = hidden if queries is None else queries
    context = _attend(layer, call, index, hidden, queries)
    leaving = entering
    if call.eliminates(index):
        leaving, survivors = call.choose(index)
        context, residual = gather(context, survivors), gather(residual, survivors)
    call.entering[index + 1] = leaving
    return call.family.feed_forward(layer, call.family.project(layer, context, residual))


def _restoring(layer: Any, call: Call, hidden: Tensor) -> Tensor:
    """One layer whose output has every position: the eliminated keep the state in which they were eliminated."""
    index: int = getattr(layer, MARK)
    entering = call.entering[index]
    alive = hidden if entering.positions is None else gather(hidden, entering.positions)
    attended = call.family.project(layer, _attend(layer, call, index, alive, None), alive)
    leaving = entering
    if call.eliminates(index):
        hidden = put_back(hidden, entering, attended)
        leaving, survivors = call.choose(index)
        attended = gather(attended, survivors)
    call.entering[index + 1] = leaving
    return put_back(hidden, leaving, call.family.feed_forward(layer, attended))


def _attend(layer: Any, call: Call, index: int, hidden: Tensor, queries: Tensor | None) -> Tensor:
    asking = hidden if queries is None else queries
    mask = call.entering[index].attention_mask(asking.shape[1])
    return call.family.attend(layer, hidden, mask, queries, **{_ARGUMENT: call})


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    elimination: Call | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' fastest attention, except where scores are wanted: there probabilities are made and read."""
    layer: int = getattr(module, "layer_idx", -1)
    if elimination is None or not elimination.needs_scores(layer) or query.shape[2] != key.shape[2]:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    logits = torch.matmul(query * scale, key.transpose(2, 3))
    if attention_mask is not None:
        # One row a sequence: padding hides the same keys from every query.
        hidden_keys = torch.zeros_like(attention_mask[:, :, :1], dtype=logits.dtype)
        logits = logits + hidden_keys.masked_fill_(~attention_mask[:, :, :1], torch.finfo(logits.dtype).min)
    probs = logits.softmax(dim=-1).to(value.dtype)
    elimination.receive(layer, probs, value)
    probs = nn.functional.dropout(probs, p=dropout, training=module.training)
    return torch.matmul(probs, value).transpose(1, 2).contiguous(), None


AttentionInterface.register(IMPLEMENTATION, _attention)
# Without a mask function of the same name transformers would pass no mask at all, and padding would be seen.
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
