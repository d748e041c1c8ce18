"""What runs instead of a layer's forward: attend, choose who survives, feed forward."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
from torch import Tensor

from latadj.elimination.architectures import Architecture
from latadj.elimination.architectures.base import MARK, parameter_names
from latadj.elimination.architectures.closed_encoder import unpacked
from latadj.elimination.architectures.layer_parts import LayerParts
from latadj.elimination.architectures.pruned_forward import no_states
from latadj.elimination.attention import attention
from latadj.elimination.cache import at_positions, cache_nobody, cache_states, keep_every_column, note_level
from latadj.elimination.cost import ALL
from latadj.elimination.decoding import Decoding
from latadj.elimination.forward_state import ForwardState
from latadj.elimination.layer_structure import attends
from latadj.elimination.levels import Level
from latadj.elimination.narrowing import narrowed
from latadj.elimination.patching import previous
from latadj.elimination.sliding_window import SlidingWindow
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk_attention import decoding_step, topk_attention

# Argument in which a base hands the state of its pass, and its architecture, to the layers.
STATE = "elimination"


def layer_forward(layer: Any, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Forward of one layer.

    Where survivors alone are read, (batch, n, width) or (tokens, width) to the same for those that stay: two
    dimensions where sequences differ in length, so that no padding is computed. The last layer gives (batch, 1,
    width) for an encoder, (batch, n_0, width) for a decoder, whose other positions are zero. Where every position is
    read, (batch, n_0, width) to the same.
    """
    kwargs = unpacked(kwargs)
    if kwargs.get(STATE) is None:
        return previous(layer, "forward")(hidden, *args, **kwargs)
    state, architecture = kwargs.pop(STATE)
    arguments = {**dict(zip(parameter_names(type(layer).forward)[1:], args, strict=False)), **kwargs}
    index = getattr(layer, MARK)
    if index is None:
        index = _running(state)
    if isinstance(state, Decoding):
        return _decode(layer, index, state, architecture, arguments, hidden)
    level: Level | None = state.level
    left_out = level is not None and level.leaves_out(index)
    if index == 0 and (past := arguments.get("past_key_values")) is not None and not state.goes_on_plain:
        keep_every_column(past)
        if level is not None:
            note_level(past, level)
    bias = architecture.bias(layer, state.entering[0].length, arguments)
    used = (
        layer if level is None or left_out else narrowed(architecture, layer, level.heads[index], level.neurons[index])
    )
    one = _LayerPass(used, index, state, architecture, architecture.parts(used), arguments)
    if left_out:
        return architecture.result(one.left_out(hidden), bias)
    run = one.all_positions if state.reads == ALL else one.survivors_only
    if (cache := state.options.hidden_states) is not None:
        if cache.skips(index):
            state.leave(index, state.entering[index])
            return architecture.result(hidden, bias)
        hidden = cache.enter(index, hidden)
    if getattr(layer, "gradient_checkpointing", False) and layer.training:
        arguments["past_key_values"] = None  # run again, a layer would cache twice
        return architecture.result(layer._gradient_checkpointing_func(run, hidden, bias), bias)
    return architecture.result(run(hidden, bias), bias)


def _running(state: ForwardState) -> int:
    """The layer that runs now, of those that are one module: the first that nobody has left yet.

    Raises
    ------
    ValueError
        if all have run, as where somebody runs a layer again for its gradients.
    """
    index = len(state.entering) - 1
    if index == state.layers:
        raise ValueError(
            "a layer that shares its weights with others was run again after the pass, so which of them it is, is not "
            "known: turn checkpointing of its gradients off"
        )
    return index


def _decode(
    layer: Any,
    index: int,
    step: Decoding,
    architecture: Architecture,
    arguments: dict[str, Any],
    hidden: Tensor,
) -> Any:
    """One layer of a decoding step; see :func:`layer_forward`."""
    level, forward = step.level, previous(layer, "forward")
    if level is not None and level.leaves_out(index):
        nobody = no_states(hidden, hidden.shape[1])
        step.mask(index, None)
        arguments["past_key_values"].update(nobody, nobody, index)
        return architecture.result(hidden, None)
    if level is not None:
        layer = narrowed(architecture, layer, level.heads[index], level.neurons[index])
        forward = MethodType(type(layer).forward, layer)
    if step.topk.layers[index] is not None and attends(layer):
        return architecture.result(decoding_step(layer, index, step, architecture, arguments, hidden), None)
    arguments["attention_mask"] = step.mask(index, arguments.get("attention_mask"), architecture.reach(layer))
    return forward(hidden, **arguments)


@dataclass(slots=True)
class _LayerPass:
    """One layer in one pass; ``arguments`` are the layer's own, by name."""

    layer: Any
    index: int
    state: ForwardState
    architecture: Architecture
    parts: LayerParts
    arguments: Mapping[str, Any]

    def left_out(self, hidden: Tensor) -> Tensor:
        """What a layer that does not run hands on: what entered it, in the form of its other passes."""
        state, entering, past = self.state, self.state.entering[self.index], self.arguments.get("past_key_values")
        state.leave(self.index, entering)
        if past is not None:
            cache_nobody(past, self.index, entering, hidden, state.after)
        if state.reads == ALL:
            return hidden
        rows = self._rows(hidden)
        return rows if entering.ragged else entering.frame(rows)

    def _rows(self, hidden: Tensor) -> Tensor:
        """What enters the layer, (tokens, width), without padding."""
        entering, rows = self.state.entering[self.index], hidden.flatten(0, -2)
        if self.index == 0 and entering.origin is not None:
            rows = rows.index_select(0, entering.origin)
        return rows

    def survivors_only(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        """The layer where its output holds the survivors only."""
        index, state, parts = self.index, self.state, self.parts
        entering, trims = state.entering[index], state.trims(index)
        rows = self._rows(hidden)
        residual = entering.pooled(rows, last=state.causal) if trims else rows

        context, scores = self._attend(rows, residual if trims else None, bias)

        leaving = entering
        if trims and state.causal:
            leaving = entering.chosen(entering.ends, np.ones_like(entering.counts))
        elif state.eliminates(index):
            leaving, survivors = state.choose(index, scores)
            context, residual = context.index_select(0, survivors), residual.index_select(0, survivors)
        state.leave(index, leaving)

        rows = parts.feed_forward(parts.project(context, residual))
        if index == state.layers - 1 and state.causal:
            return at_positions(rows, leaving)
        if trims:
            return rows[:, None]
        return rows if leaving.ragged and index < state.layers - 1 else leaving.frame(rows)

    def all_positions(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        """The layer where its output has every position: the eliminated keep the state they were eliminated in."""
        index, state, parts = self.index, self.state, self.parts
        entering = state.entering[index]
        everyone = hidden.flatten(0, 1)
        rows = everyone if entering.origin is None else everyone.index_select(0, entering.origin)

        context, scores = self._attend(rows, None, bias)
        attended = parts.project(context, rows)

        leaving = entering
        if state.eliminates(index):
            everyone = _put_back(everyone, entering, attended)
            leaving, survivors = state.choose(index, scores)
            attended = attended.index_select(0, survivors)
        state.leave(index, leaving)

        return _put_back(everyone, leaving, parts.feed_forward(attended)).view_as(hidden)

    def _attend(self, rows: Tensor, query_rows: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Contexts of those that enter the layer, and their scores where somebody needs them.

        Returns
        -------
        (rows, features), or (batch, features) of ``query_rows``; no features where the attention block was removed
        (batch, width) scores, or None
        """
        layer, index, state, architecture = self.layer, self.index, self.state, self.architecture
        entering, past, pooled = state.entering[index], self.arguments.get("past_key_values"), query_rows is not None
        if not attends(layer):
            if past is not None:
                cache_nobody(past, index, entering, rows, state.after)
            return rows.new_empty(len(rows if query_rows is None else query_rows), 0), None
        qkv = self.parts.qkv(rows, query_rows)
        query, key, value = architecture.states(layer, qkv, entering, self.arguments, pooled)
        if past is not None:
            # Beside int8 products attention may run in bf16; decoding goes on in the model's own type.
            reach = None if state.everyone_stays else architecture.reach(layer)
            cache_states(past, index, entering, key.to(rows.dtype), value.to(rows.dtype), state.after, reach)
        scale, dropout = architecture.attention(layer)
        k, scored = state.topk.layers[index], state.wants_scores(index)
        sliding, real = _sliding_window(architecture.reach(layer), entering), entering.real
        if sliding is not None and pooled:
            real = _near_the_last(sliding, entering)
        window = state.window_columns(index, sliding) if scored else None
        context, received = (attention if k is None else partial(topk_attention, k))(
            query,
            key,
            value,
            real,
            scale=scale,
            dropout=dropout,
            causal=state.causal and not pooled,
            bias=architecture.pairs(layer, bias, query, key, entering, self.arguments),
            observe=scored,
            window=window,
            sliding=sliding,
        )
        scores = None if received is None else state.score(index, window, received, value.detach(), sliding)
        return context[:, 0] if pooled else entering.rows(context), scores


def _sliding_window(reach: int | None, entering: Survivors) -> SlidingWindow | None:
    """How far back the queries of a layer see; None: all see the first token."""
    return None if reach is None or reach >= entering.length else SlidingWindow(reach, entering.positions)


def _near_the_last(sliding: SlidingWindow, entering: Survivors) -> Tensor:
    """(batch, width) True on the tokens that the last of each sequence sees."""
    seen = sliding.seen_by_last(entering.pick_last(sliding.positions[..., None])[..., 0]).expand(entering.batch, -1)
    return seen if entering.real is None else seen & entering.real


def _put_back(everyone: Tensor, alive: Survivors, rows: Tensor) -> Tensor:
    """``everyone``, (batch * n_0, width), with the tokens that are alive replaced by ``rows``."""
    return rows if alive.origin is None else everyone.index_copy(0, alive.origin, rows.to(everyone.dtype))
