"""What runs instead of a base model's forward: it opens the pass's state and hands it to the layers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from latadj.elimination.architectures.base import LAST, MARK, parameter_names
from latadj.elimination.architectures.pruned_forward import NOBODY
from latadj.elimination.architectures.recording import eager, refuse_recording
from latadj.elimination.cache import (
    can_shorten,
    is_filled,
    is_short,
    level_of,
    require_same,
    require_shortenable,
)
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.decoding import Decoding
from latadj.elimination.forward_state import ForwardState
from latadj.elimination.layer_forward import STATE
from latadj.elimination.layer_structure import attends
from latadj.elimination.levels import Level
from latadj.elimination.narrowing import narrowed
from latadj.elimination.notices import warn_once
from latadj.elimination.patching import Elimination, EliminationOptions, previous
from latadj.elimination.profiles import Profile
from latadj.elimination.whole_texts import run_in_parts, whole_rows


@eager
def base_forward(base: Any, *args: Any, **kwargs: Any) -> Any:
    """Forward of a base model: opens the pass's state and hands it to the layers with the other arguments."""
    refuse_recording(base)
    elimination: Elimination = getattr(base, MARK)
    architecture, options, selects = elimination.architecture, elimination.options(), elimination.topk.selects
    last = kwargs.pop(LAST, architecture.told())
    forward = previous(base, "forward")
    arguments = {**dict(zip(parameter_names(type(base).forward), args, strict=False)), **kwargs}
    inputs = arguments.get("input_ids") if arguments.get("input_ids") is not None else arguments.get("inputs_embeds")
    if inputs is None:
        return forward(*args, **kwargs)  # transformers says what is missing
    if arguments.get("cu_seq_lens_q") is not None:
        raise ValueError(
            "cu_seq_lens_q: several texts in one row, as for flash attention, which elimination takes for one text: "
            "give each a row of its own; in sentence-transformers with model[0].unpad_inputs = False"
        )
    past = arguments.get("past_key_values")
    if past is not None and is_filled(past):
        if selects:
            refuse_probabilities(base, arguments)
            require_shortenable(past, selects)
        level = level_of(past)
        require_same(past, _cached_states(elimination, base, level), len(inputs))
        if is_short(past) or selects or level is not None:
            mask = mask_of(arguments, inputs, int(past.get_seq_length()))
            implementation = base.config._attn_implementation
            step = Decoding(past, mask, inputs.shape[1], implementation, base.dtype, elimination.topk)
            kwargs[STATE] = (step, architecture)
        return forward(*args, **kwargs)
    if options.profile.in_parts:
        whole = whole_rows(options.profile, mask_of(arguments, inputs), (inputs.shape[0], inputs.shape[1]))
        told = {} if last is None else {LAST: last}
        return run_in_parts(elimination, options, whole, arguments, lambda part: base_forward(base, **part, **told))
    if last is not None and last > 1:
        options = _before_last(options, last, arguments, inputs)
    reads = _reads(elimination, options, last)
    plain = options.profile.is_full and not selects and options.hidden_states is None
    if reads != POOLED and plain and options.score_observer is None:
        return forward(*args, **kwargs)
    if plain and architecture.causal and not can_shorten(past):
        return forward(*args, **kwargs)
    if reads != ALL and wants_hidden_states(base, arguments):
        if plain and options.score_observer is None:
            return forward(*args, **kwargs)
        raise ValueError(
            "output_hidden_states=True: where this model eliminates, layers hold survivors only: leave it out, ask at "
            "speedup 1, or take at_profile(..., survivor_observer=)"
        )
    require_shortenable(past, selects)
    refuse_probabilities(base, arguments)
    mask = mask_of(arguments, inputs)
    if last == 1 and mask is not None and not bool(mask[:, -1].all()):
        raise ValueError(
            "attention_mask hides the last column of some texts, from which generation goes on: pad on the left "
            "(tokenizer.padding_side='left')"
        )
    ids = arguments.get("input_ids")
    if elimination.pair is not None and options.protect is None and options.profile.eliminates and ids is not None:
        options = replace(options, protect=elimination.pair.protected(ids, mask))
    layers = architecture.layers(base)
    state = ForwardState(
        attending=_attending(options.profile, layers),
        mask=mask,
        shape=(inputs.shape[0], inputs.shape[1]),
        device=inputs.device,
        reads=reads,
        options=options,
        causal=architecture.causal,
        topk=elimination.topk,
    )
    if reads == POOLED and not architecture.causal and mask is not None:
        _warn_of_left_padding(mask, state, arguments)
    if kwargs.get("attention_mask") is not None:
        # Who is real travels in the state; transformers need not build a mask of pairs.
        kwargs["attention_mask"] = architecture.unmasked(kwargs["attention_mask"])
    return architecture.finish(architecture.run(forward, args, kwargs, {STATE: (state, architecture)}), state)


def _attending(profile: Profile, layers: Sequence[Any]) -> tuple[bool, ...]:
    """Which layers have attention to choose by."""
    if profile.level is None:
        return tuple(map(attends, layers))
    return tuple(attends(layer) and heads > 0 for layer, heads in zip(layers, profile.level.heads, strict=False))


def _cached_states(elimination: Elimination, base: Any, level: Level | None) -> list[tuple[int, int]]:
    """(key heads, size of a head) that each layer adds to a cache, at a level."""
    architecture = elimination.architecture
    layers = list(architecture.layers(base))
    if level is not None:
        layers = [
            None if level.leaves_out(index) else narrowed(architecture, layer, level.heads[index], level.neurons[index])
            for index, layer in enumerate(layers)
        ]
    return [NOBODY if layer is None else architecture.cached_states(layer, base.config) for layer in layers]


def _warn_of_left_padding(mask: Tensor, state: ForwardState, arguments: Mapping[str, Any]) -> None:
    padded = state.entering[0].origin is not None
    # Who names positions has thought of it.
    if padded and arguments.get("position_ids") is None and not bool(mask[:, 0].all()):
        warn_once(
            "attention_mask hides the first column of some texts: latadj reads the first real token of each there, "
            "transformers the padding, and positions may count padding too; pad on the right "
            "(tokenizer.padding_side='right')"
        )


def _before_last(
    options: EliminationOptions, last: int, arguments: Mapping[str, Any], inputs: Tensor
) -> EliminationOptions:
    """The options of a pass of which several last positions are read: what stands before them is the prompt.

    So candidates that follow a prompt, as in assisted generation, are never eliminated.
    """
    if options.prompt is not None or not options.profile.eliminates:
        return options
    mask = mask_of(arguments, inputs)
    if mask is not None and not bool(mask[:, -last:].all()):
        return options
    lengths = [inputs.shape[1]] * len(inputs) if mask is None else mask.sum(dim=1).tolist()
    prompt = tuple(int(length) - last + 1 for length in lengths)
    return replace(options, prompt=prompt) if min(prompt) > 0 else options


def _reads(elimination: Elimination, options: EliminationOptions, last: int | None) -> str:
    """Where this pass is read: by what the head says, or as it was attached if it says nothing."""
    told = elimination.reads == POOLED and elimination.told
    return ALL if told and last not in (0, 1) and options.prompt is None else elimination.reads


def mask_of(arguments: Mapping[str, Any], inputs: Tensor, cached: int = 0) -> Tensor | None:
    """(batch, cached and length) True on real tokens; None if all are.

    Parameters
    ----------
    cached : columns of the texts that a cache holds

    Raises
    ------
    ValueError
        if the mask that was given has other dimensions.
    """
    mask = arguments.get("attention_mask")
    if mask is not None and mask.ndim != 2:
        raise ValueError(f"attention_mask of {mask.ndim} dimensions: elimination needs (batch, length), or none")
    shape = (inputs.shape[0], cached + inputs.shape[1])
    if mask is not None and tuple(mask.shape) != shape:
        raise ValueError(
            f"attention_mask of shape {tuple(mask.shape)}: elimination needs {shape}, a column for each token"
            + (" in the cache and each new one" if cached else "")
        )
    return None if mask is None else mask.to(device=inputs.device, dtype=torch.bool)


def wants_hidden_states(base: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a pass is to hand over what leaves each layer."""
    asked = arguments.get("output_hidden_states")
    return bool(base.config.output_hidden_states if asked is None else asked)


def refuse_probabilities(base: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse a pass that is to hand over attention probabilities.

    Raises
    ------
    ValueError
    """
    if arguments.get("output_attentions") or base.config.output_attentions:
        raise ValueError(
            "output_attentions=True: elimination does not keep attention probabilities; "
            "at_profile(..., score_observer=) gives the score of each token"
        )
