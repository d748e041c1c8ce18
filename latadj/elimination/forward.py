"""What runs instead of a model's and a layer's own forward while elimination is attached."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
from torch import Tensor, nn

from latadj.elimination.architectures import Architecture
from latadj.elimination.architectures.base import parameters
from latadj.elimination.architectures.decoders import LAST
from latadj.elimination.architectures.pruned_forward import own_bias
from latadj.elimination.arguments import mask_of, refuse_probabilities
from latadj.elimination.attention import attention
from latadj.elimination.cache import Decoding, can_shorten, is_filled, is_short, require_shortenable
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.eager import eager
from latadj.elimination.forward_state import EliminationOptions, ForwardState
from latadj.elimination.layer_structure import attends, held
from latadj.elimination.prefill import at_positions, cache_nobody, cache_states
from latadj.elimination.profiles import Dial, Profile
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk.attention import attend_topk
from latadj.elimination.topk.decoding import decoding_step
from latadj.elimination.topk.setting import TopKAttention

MARK = "_latadj"
_ARGUMENT = "elimination"


@dataclass(frozen=True)
class Setting:
    """What the next forward pass is to do."""

    profile: Profile
    manner: EliminationOptions


@dataclass
class Elimination:
    """What is attached to a base model; holds no module, so a model can be copied with it."""

    architecture: Architecture
    dial: Dial | None
    reads: str
    default: Setting
    hard: TopKAttention

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


@eager
def base_forward(base: Any, *args: Any, **kwargs: Any) -> Any:
    """Forward of a base model: opens the pass's state and hands it to the layers with the other arguments."""
    elimination: Elimination = getattr(base, MARK)
    architecture, setting, hard = elimination.architecture, elimination.setting(), elimination.hard.selects
    last = kwargs.pop(LAST, None)
    forward = _previous_forward(base)
    arguments = {**dict(zip(parameters(type(base).forward), args, strict=False)), **kwargs}
    inputs = arguments.get("input_ids") if arguments.get("input_ids") is not None else arguments.get("inputs_embeds")
    if inputs is None:
        return forward(*args, **kwargs)  # transformers says what is missing
    past = arguments.get("past_key_values")
    if is_filled(past):
        if hard:
            refuse_probabilities(base, arguments)
            require_shortenable(past, hard)
        if is_short(past) or hard:
            kwargs[_ARGUMENT] = (_decoding(base, arguments, inputs, elimination.hard), architecture)
        return forward(*args, **kwargs)
    if last is not None and last > 1:
        setting = _before_last(setting, last, arguments, inputs)
    reads = _reads(elimination, setting, last)
    plain = not setting.profile.eliminates and not hard and setting.manner.entry is None
    if reads != POOLED and plain and setting.manner.observer is None:
        return forward(*args, **kwargs)
    if plain and architecture.causal and not can_shorten(past):
        return forward(*args, **kwargs)
    require_shortenable(past, hard)
    refuse_probabilities(base, arguments)
    mask = mask_of(arguments, inputs)
    if last == 1 and mask is not None and not bool(mask[:, -1].all()):
        raise ValueError(
            "attention_mask hides the last column of some texts, from which generation goes on: pad on the left "
            "(tokenizer.padding_side='left')"
        )
    call = ForwardState(
        keep=held(setting.profile.keep, [attends(layer) for layer in architecture.layers(base)]),
        mask=mask,
        shape=(inputs.shape[0], inputs.shape[1]),
        device=inputs.device,
        reads=reads,
        manner=setting.manner,
        causal=architecture.causal,
        hard=elimination.hard,
    )
    if "attention_mask" in kwargs:
        kwargs["attention_mask"] = None  # who is real travels in the call; transformers need not build a mask
    return architecture.finish(forward(*args, **kwargs, **{_ARGUMENT: (call, architecture)}), call)


def _before_last(setting: Setting, last: int, arguments: Mapping[str, Any], inputs: Tensor) -> Setting:
    """The setting of a pass of which several last positions are read: what stands before them is the prompt.

    So candidates that follow a prompt, as in assisted generation, are never eliminated.
    """
    if setting.manner.prompt is not None or not setting.profile.eliminates:
        return setting
    mask = mask_of(arguments, inputs)
    if mask is not None and not bool(mask[:, -last:].all()):
        return setting
    lengths = [inputs.shape[1]] * len(inputs) if mask is None else mask.sum(dim=1).tolist()
    prompt = tuple(int(length) - last + 1 for length in lengths)
    return replace(setting, manner=replace(setting.manner, prompt=prompt)) if min(prompt) > 0 else setting


def _reads(elimination: Elimination, setting: Setting, last: int | None) -> str:
    """Where this pass is read: a language model's head says so each time, other heads always read the same."""
    if (
        elimination.architecture.causal
        and elimination.reads == POOLED
        and last not in (0, 1)
        and setting.manner.prompt is None
    ):
        return ALL
    return elimination.reads


def _decoding(base: Any, arguments: Mapping[str, Any], inputs: Tensor, hard: TopKAttention) -> Decoding:
    return Decoding(
        arguments["past_key_values"],
        mask_of(arguments, inputs),
        inputs.shape[1],
        base.config._attn_implementation,
        base.dtype,
        hard,
    )


def layer_forward(layer: Any, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Forward of one layer.

    Where survivors alone are read, (batch, n, width) or (tokens, width) to the same for those that stay: two
    dimensions where sequences differ in length, so that no padding is computed. The last layer gives (batch, 1,
    width) for an encoder, (batch, n_0, width) for a decoder, whose other positions are zero. Where every position is
    read, (batch, n_0, width) to the same.
    """
    if kwargs.get(_ARGUMENT) is None:
        return _previous_forward(layer)(hidden, *args, **kwargs)
    call, architecture = kwargs.pop(_ARGUMENT)
    given = {**dict(zip(parameters(type(layer).forward)[1:], args, strict=False)), **kwargs}
    if isinstance(call, Decoding):
        index = getattr(layer, MARK)
        if call.hard.layers[index] is not None and attends(layer):
            return architecture.result(decoding_step(layer, index, call, architecture, given, hidden), None)
        given["attention_mask"] = call.mask(index, given.get("attention_mask"))
        return _previous_forward(layer)(hidden, **given)
    run = partial(_restoring if call.reads == ALL else _packed, layer, call, architecture, given)
    bias = architecture.bias(layer, call.entering[0].length, given)
    if (entry := call.manner.entry) is not None:
        index = getattr(layer, MARK)
        if entry.skips(index):
            call.leave(index, call.entering[index])
            return architecture.result(hidden, bias)
        hidden = entry.enter(index, hidden)
    if getattr(layer, "gradient_checkpointing", False) and layer.training:
        given["past_key_values"] = None  # run again, a layer would cache twice
        return architecture.result(layer._gradient_checkpointing_func(run, hidden, bias), bias)
    return architecture.result(run(hidden, bias), bias)


def _packed(
    layer: Any, call: ForwardState, architecture: Architecture, given: Mapping[str, Any], hidden: Tensor, bias: Any
) -> Tensor:
    """One layer whose output holds the survivors only."""
    index: int = getattr(layer, MARK)
    entering = call.entering[index]
    rows = hidden.flatten(0, -2)
    if index == 0 and entering.origin is not None:
        rows = rows.index_select(0, entering.origin)
    trims = call.trims(index)
    residual = entering.pooled(rows, last=call.causal) if trims else rows
    context = _attended(layer, call, architecture, given, rows, residual if trims else None, bias)
    leaving = entering
    if trims and call.causal:
        leaving = entering.chosen(entering.ends, np.ones_like(entering.counts))
    elif call.eliminates(index):
        leaving, survivors = call.choose(index)
        context, residual = context.index_select(0, survivors), residual.index_select(0, survivors)
    call.leave(index, leaving)
    rows = architecture.feed_forward(layer, architecture.project(layer, context, residual))
    if index == call.layers - 1 and call.causal:
        return at_positions(rows, leaving)
    if trims:
        return rows[:, None]
    return rows if leaving.ragged and index < call.layers - 1 else leaving.frame(rows)


def _restoring(
    layer: Any, call: ForwardState, architecture: Architecture, given: Mapping[str, Any], hidden: Tensor, bias: Any
) -> Tensor:
    """One layer whose output has every position: the eliminated keep the state in which they were eliminated."""
    index: int = getattr(layer, MARK)
    entering = call.entering[index]
    everyone = hidden.flatten(0, 1)
    rows = everyone if entering.origin is None else everyone.index_select(0, entering.origin)
    attended = architecture.project(layer, _attended(layer, call, architecture, given, rows, None, bias), rows)
    leaving = entering
    if call.eliminates(index):
        everyone = _put_back(everyone, entering, attended)
        leaving, survivors = call.choose(index)
        attended = attended.index_select(0, survivors)
    call.leave(index, leaving)
    return _put_back(everyone, leaving, architecture.feed_forward(layer, attended)).view_as(hidden)


def _attended(
    layer: Any,
    call: ForwardState,
    architecture: Architecture,
    given: Mapping[str, Any],
    rows: Tensor,
    asking: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """Contexts of all that enter a layer, (rows, width), or of the pooled position, (batch, width).

    The width is 0 where the attention block was removed.
    """
    index: int = getattr(layer, MARK)
    entering = call.entering[index]
    past = given.get("past_key_values")
    if not attends(layer):
        if past is not None:
            cache_nobody(past, index, entering, rows, call.after)
        return rows.new_empty(len(rows if asking is None else asking), 0)
    query, key, value = architecture.states(layer, rows, asking, entering, given)
    if past is not None:
        # Beside int8 maps attention may run in bf16; decoding goes on in the model's own type.
        cache_states(past, index, entering, key.to(rows.dtype), value.to(rows.dtype), call.after)
    scale, dropout = architecture.attention(layer)
    own, most = own_bias(layer, bias), call.hard.layers[index]
    attend = attention if most is None else partial(attend_topk, most)
    context = attend(
        query,
        key,
        value,
        entering.real,
        scale=scale,
        dropout=dropout,
        causal=call.causal and asking is None,
        bias=None if own is None else entering.between(own, query.dtype),
        listener=call.listener(index),
    )
    return entering.rows(context) if asking is None else context[:, 0]


def _put_back(everyone: Tensor, alive: Survivors, rows: Tensor) -> Tensor:
    """``everyone``, (batch * n_0, width), with the tokens that are alive replaced by ``rows``."""
    return rows if alive.origin is None else everyone.index_copy(0, alive.origin, rows.to(everyone.dtype))
