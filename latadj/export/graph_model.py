"""A model as its graph is to compute it: its own forward, its layers' own parts, and how many tokens each text keeps.

Torch's exporter sees one length in all layers, so nothing here reads the length of a hidden state; what does is an
operator of :mod:`latadj.export.operators`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.architectures.base import Architecture
from latadj.elimination.architectures.layer_parts import LayerParts
from latadj.elimination.cost import POOLED
from latadj.elimination.layer_structure import attends
from latadj.elimination.profiles import LEAST_SPARED, Profile
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.export.operators import attend, attend_and_leave, attend_and_score, leave, put_back

# The output that is a text's embedding.
EMBEDDED = "sentence_embedding"
# And that which has a state for each token.
TOKENS = "last_hidden_state"
# What is added to the attention products of padding.
LOWEST = torch.finfo(torch.float32).min


@dataclass
class Alive:
    """The tokens that are alive in one pass, as a padded batch.

    bias : (batch, 1, 1, n) 0 on tokens, the lowest number on padding
    leaving : for each layer (batch,) how many tokens of each text leave it
    falls : for each layer () whether any text loses one there
    everyone, places : where all positions are read: their states, and where those alive stood
    """

    bias: Tensor
    leaving: Sequence[Tensor]
    falls: Sequence[Tensor]
    everyone: Tensor | None = None
    places: Tensor | None = None


class GraphModel(nn.Module):
    """A model as a module of tensors alone, ready for export.

    Parameters
    ----------
    model : with nothing attached, whole or cut to a level; it stays as it is
    reads : ``pooled`` or ``all``
    inputs : names of the token inputs, each (batch, length) of int64, ``attention_mask`` among them
    outputs : names of what of the model's output is returned; ``EMBEDDED``: what the modules of its
        ``SentenceTransformer`` make of it
    kept : number of each of its layers in the model that profiles are of
    profile : the only one that it runs; None: its keep ratios and ``short_length`` are inputs, of float64
    cuts : of no fixed profile: numbers of the layers that let tokens go, in the model that profiles are of. How many of
        each text leave each layer is then an input in place of the ratios, (layers, batch) of int64; None: all may
    """

    def __init__(
        self,
        model: PreTrainedModel,
        reads: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        kept: Sequence[int],
        profile: Profile | None,
        cuts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.inputs, self.outputs, self.reads, self.profile = tuple(inputs), tuple(outputs), reads, profile
        self.kept, self.cuts = list(kept), cuts
        self.architecture = architecture_of(model)
        pipeline = pipeline_of(self.model)
        self.after = nn.ModuleList(list(pipeline)[1:] if pipeline is not None and EMBEDDED in outputs else [])
        layers = layers_of(self.model)
        # A layer without attention keeps what the one before it kept; ratio 0 stands for all tokens.
        self.ratio_of, last = list[int](), 0
        for number, layer in zip(kept, layers, strict=True):
            last = number + 1 if attends(layer) else last
            self.ratio_of.append(last)
        self.__dict__["alive"] = None
        for index, layer in enumerate(layers):
            _empty_blocks_add_nothing(self.architecture, layer)
            layer.forward = _LayerForward(self, index, layer)
        base = self.architecture.base(self.model)
        base.forward = _WithoutMask(base)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """What the outputs name.

        Parameters
        ----------
        tensors : the inputs; without a fixed profile also keep ratios (layers,) and ``short_length`` (), or numbers of
            tokens
        """
        tokens, settings = dict(zip(self.inputs, tensors, strict=False)), tensors[len(self.inputs) :]
        alive = tokens["attention_mask"] > 0
        lengths = alive.sum(dim=1)
        if self.cuts is not None:
            every = len(self.ratio_of) + 1
            counts = (
                torch.cat([lengths[None], *settings])[[0, *self.ratio_of]] if settings else lengths.expand(every, -1)
            )
        else:
            counts = self._counts(lengths, *settings) if settings else self._fixed_counts(lengths)
        falls = (counts[1:] < counts[:-1]).any(dim=1)
        bias = torch.where(alive, 0.0, LOWEST)[:, None, None]
        # Not as a buffer: it is of this pass alone.
        self.__dict__["alive"] = Alive(bias, counts.unbind()[1:], falls.unbind())
        output = self.model(**tokens)
        if self.after:
            features = {"token_embeddings": output[0], "attention_mask": tokens["attention_mask"]}
            for module in self.after:
                features = module(features)
            output = {TOKENS: output[0], EMBEDDED: features["sentence_embedding"]}
        return tuple(output[name] for name in self.outputs)

    def may_fall(self, layer: int) -> bool:
        """Whether some setting lets tokens go in a layer."""
        before = self.ratio_of[layer - 1] if layer else 0
        if self.ratio_of[layer] == before or self.trims(layer):
            return False
        if self.cuts is not None:
            return self.kept[layer] in self.cuts
        keep = None if self.profile is None else (1.0, *self.profile.keep)
        return keep is None or keep[self.ratio_of[layer]] < keep[before]

    def trims(self, layer: int) -> bool:
        """Whether the head reads one position only of what leaves a layer."""
        return self.reads == POOLED and layer == len(self.ratio_of) - 1

    def _fixed_counts(self, lengths: Tensor) -> Tensor:
        """(layers + 1, batch) tokens that enter the model and leave each layer, at the only profile that it runs.

        Looked up by the length of a text, since onnxruntime as browsers run it has no float64.
        """
        assert self.profile is not None
        every = np.arange(self.model.config.max_position_embeddings + 1)
        counts = np.concatenate([every[None], self.profile.counts(every)])[[0, *self.ratio_of]]
        return torch.tensor(counts.tolist(), dtype=torch.long).index_select(1, lengths)

    def _counts(self, lengths: Tensor, keep: Tensor, short_length: Tensor) -> Tensor:
        """The same where the profile is an input: ``Profile.counts`` in tensors."""
        whole = lengths.double()
        falling = short_length - (1 - LEAST_SPARED) * (whole - short_length)
        spared = torch.minimum(torch.maximum(falling, LEAST_SPARED * short_length), whole)
        ratios = torch.cat([keep.new_ones(1), keep])[[0, *self.ratio_of]]
        counts = torch.ceil(spared + ratios[:, None] * (whole - spared) - 1e-6)
        return torch.minimum(torch.maximum(counts, whole.new_ones(())), whole).long()


class _WithoutMask:
    """A base's forward without its mask: who is real, the graph's operators know."""

    def __init__(self, base: Any) -> None:
        self.base = base

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.base).forward(self.base, *args, **{**kwargs, "attention_mask": None})


class _LayerForward:
    """A layer's forward: (batch, n, width) to the same for those that stay, or for all where all are read."""

    def __init__(self, graph: GraphModel, index: int, layer: Any) -> None:
        self.graph, self.index, self.layer = graph, index, layer

    def __call__(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        graph, alive = self.graph, self.graph.__dict__["alive"]
        run = self._survivors if graph.reads == POOLED else self._all_positions
        return graph.architecture.result(run(graph.architecture.parts(self.layer), hidden, alive), None)

    def _survivors(self, parts: LayerParts, hidden: Tensor, alive: Alive) -> Tensor:
        index = self.index
        if self.graph.trims(index):
            pooled = hidden[:, :1]
            return parts.feed_forward(parts.project(self._context(parts, hidden, pooled, alive), pooled))
        if not self.graph.may_fall(index):
            return parts.feed_forward(parts.project(self._context(parts, hidden, None, alive), hidden))
        query, key, value = parts.qkv(hidden, None)
        heads, scale = self._attention()
        leaving, falls = alive.leaving[index], alive.falls[index]
        context, hidden, alive.bias = attend_and_leave(
            query, key, value, alive.bias, hidden, leaving, falls, heads, scale
        )
        return parts.feed_forward(parts.project(context, hidden))

    def _all_positions(self, parts: LayerParts, hidden: Tensor, alive: Alive) -> Tensor:
        index = self.index
        if alive.everyone is None or alive.places is None:
            alive.everyone = hidden
            alive.places = torch.ones_like(hidden[..., 0], dtype=torch.long).cumsum(dim=1) - 1
        if not self.graph.may_fall(index):
            rows = parts.project(self._context(parts, hidden, None, alive), hidden)
        else:
            query, key, value = parts.qkv(hidden, None)
            heads, scale = self._attention()
            leaving, falls = alive.leaving[index], alive.falls[index]
            context, scores = attend_and_score(query, key, value, alive.bias, falls, heads, scale)
            attended = parts.project(context, hidden)
            rows, alive.everyone, alive.places, alive.bias = leave(
                attended, alive.everyone, alive.places, alive.bias, scores, leaving, falls
            )
        rows = parts.feed_forward(rows)
        return put_back(alive.everyone, alive.places, rows) if index == len(self.graph.ratio_of) - 1 else rows

    def _context(self, parts: LayerParts, hidden: Tensor, query_rows: Tensor | None, alive: Alive) -> Tensor:
        if not attends(self.layer):
            return hidden if query_rows is None else query_rows  # which the layer's output map does not read
        query, key, value = parts.qkv(hidden, query_rows)
        return attend(query, key, value, alive.bias, *self._attention())

    def _attention(self) -> tuple[int, float]:
        """Heads, and the scale of the products."""
        architecture, layer = self.graph.architecture, self.layer
        heads = attrgetter(architecture.paths(layer).output)(layer).in_features // architecture.head_widths(layer)[0]
        return heads, architecture.attention(layer)[0]


class _Nothing(nn.Module):
    """What stands for a linear map without inputs: zeros."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_features = width

    def forward(self, states: Tensor) -> Tensor:
        return states[..., :1] * 0.0


def _empty_blocks_add_nothing(architecture: Architecture, layer: Any) -> None:
    """Replace the maps of a layer that have no inputs: not every runtime multiplies by an empty matrix."""
    paths = architecture.paths(layer)
    for path, before in ((paths.output, ()), (paths.outer, paths.inner)):
        linear = attrgetter(path)(layer)
        if not linear.in_features:
            for name, module in ((path, _Nothing(linear.out_features)), *((name, nn.Identity()) for name in before)):
                layer.set_submodule(name, module)
