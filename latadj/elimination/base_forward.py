"""What runs instead of a base model's forward: it opens the pass's state and hands it to the layers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from latadj.elimination.architectures.base import parameters
from latadj.elimination.architectures.decoders import LAST
from latadj.elimination.arguments import mask_of, refuse_probabilities
from latadj.elimination.attachment import MARK, Elimination, Setting, previous_forward
from latadj.elimination.cache import Decoding, can_shorten, is_filled, is_short, require_shortenable
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.eager import eager
from latadj.elimination.forward import STATE
from latadj.elimination.forward_state import ForwardState
from latadj.elimination.layer_structure import attends, held
from latadj.elimination.topk.setting import TopKAttention


@eager
def base_forward(base: Any, *args: Any, **kwargs: Any) -> Any:
    """Forward of a base model: opens the pass's state and hands it to the layers with the other arguments."""
    elimination: Elimination = getattr(base, MARK)
    architecture, setting, selects = elimination.architecture, elimination.setting(), elimination.topk.selects
    last = kwargs.pop(LAST, None)
    forward = previous_forward(base)
    arguments = {**dict(zip(parameters(type(base).forward), args, strict=False)), **kwargs}
    inputs = arguments.get("input_ids") if arguments.get("input_ids") is not None else arguments.get("inputs_embeds")
    if inputs is None:
        return forward(*args, **kwargs)  # transformers says what is missing
    past = arguments.get("past_key_values")
    if is_filled(past):
        if selects:
            refuse_probabilities(base, arguments)
            require_shortenable(past, selects)
        if is_short(past) or selects:
            kwargs[STATE] = (_decoding(base, arguments, inputs, elimination.topk), architecture)
        return forward(*args, **kwargs)
    if last is not None and last > 1:
        setting = _before_last(setting, last, arguments, inputs)
    options = setting.options
    reads = _reads(elimination, setting, last)
    plain = not setting.profile.eliminates and not selects and options.hidden_states is None
    if reads != POOLED and plain and options.score_observer is None:
        return forward(*args, **kwargs)
    if plain and architecture.causal and not can_shorten(past):
        return forward(*args, **kwargs)
    require_shortenable(past, selects)
    refuse_probabilities(base, arguments)
    mask = mask_of(arguments, inputs)
    if last == 1 and mask is not None and not bool(mask[:, -1].all()):
        raise ValueError(
            "attention_mask hides the last column of some texts, from which generation goes on: pad on the left "
            "(tokenizer.padding_side='left')"
        )
    state = ForwardState(
        keep=held(setting.profile.keep, [attends(layer) for layer in architecture.layers(base)]),
        mask=mask,
        shape=(inputs.shape[0], inputs.shape[1]),
        device=inputs.device,
        reads=reads,
        options=options,
        causal=architecture.causal,
        topk=elimination.topk,
    )
    if "attention_mask" in kwargs:
        kwargs["attention_mask"] = None  # who is real travels in the state; transformers need not build a mask
    return architecture.finish(forward(*args, **kwargs, **{STATE: (state, architecture)}), state)


def _before_last(setting: Setting, last: int, arguments: Mapping[str, Any], inputs: Tensor) -> Setting:
    """The setting of a pass of which several last positions are read: what stands before them is the prompt.

    So candidates that follow a prompt, as in assisted generation, are never eliminated.
    """
    if setting.options.prompt is not None or not setting.profile.eliminates:
        return setting
    mask = mask_of(arguments, inputs)
    if mask is not None and not bool(mask[:, -last:].all()):
        return setting
    lengths = [inputs.shape[1]] * len(inputs) if mask is None else mask.sum(dim=1).tolist()
    prompt = tuple(int(length) - last + 1 for length in lengths)
    return replace(setting, options=replace(setting.options, prompt=prompt)) if min(prompt) > 0 else setting


def _reads(elimination: Elimination, setting: Setting, last: int | None) -> str:
    """Where this pass is read: a language model's head says so each time, other heads always read the same."""
    if (
        elimination.architecture.causal
        and elimination.reads == POOLED
        and last not in (0, 1)
        and setting.options.prompt is None
    ):
        return ALL
    return elimination.reads


def _decoding(base: Any, arguments: Mapping[str, Any], inputs: Tensor, topk: TopKAttention) -> Decoding:
    return Decoding(
        arguments["past_key_values"],
        mask_of(arguments, inputs),
        inputs.shape[1],
        base.config._attn_implementation,
        base.dtype,
        topk,
    )
