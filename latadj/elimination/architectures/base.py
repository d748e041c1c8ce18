"""What differs between architectures: how one transformers layer runs in parts, and how large its linear layers are.

A layer runs as ``qkv`` -> ``states`` -> attention -> (elimination) -> ``project`` -> ``feed_forward``. Each part calls
the layer's own submodules; no modelling code is repeated.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from inspect import signature
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures.layer_parts import LayerParts, OwnParts, registered_parts
from latadj.elimination.architectures.pruned_forward import NOBODY, no_output, own_bias
from latadj.elimination.cost import ALL, POOLED, LayerShape
from latadj.elimination.layer_structure import LayerPaths, attends, layer_structure_of
from latadj.elimination.survivors import Survivors

# On a base model its Elimination, on a layer its index; None on one that runs in several places.
MARK = "_latadj"
# Argument in which a head tells its base where it reads: how many of the last columns; 0: one token of each text, the
# first real one of an encoder and the last real one of a decoder.
LAST = "latadj_last"


class Architecture(ABC):
    """How the layers of one model architecture run in parts."""

    model_types: tuple[str, ...]
    # Endings of the head classes that read the pooled position only.
    pooled_heads: tuple[str, ...]
    # The parts of a layer by its own modules.
    own_parts: type[OwnParts]
    # Whether a token sees only those before it; the pooled position is then the last one, else the first.
    causal = False
    # Whether one module may be several layers, with the same weights in each place.
    shares_weights = False
    # Whether the norms stand after each block and its residual, or before the block.
    post_norm = False
    # Where the base keeps its layers, and a layer its attention module and its linear layers.
    layer_list: str
    block: str
    layer_paths: LayerPaths
    # Of a root-mean-square norm: where it keeps its epsilon, and what is added to its weights.
    norm_epsilon = "variance_epsilon"
    norm_offset = 0.0
    # Where the attention module keeps the size of a head and the dropout of the probabilities.
    head_size: str
    attention_dropout: str
    # Where the base and each layer keep the dropouts of the hidden state.
    base_dropouts: tuple[str, ...] = ()
    layer_dropouts: tuple[str, ...] = ()

    def check(self, model: PreTrainedModel) -> None:  # noqa: B027 most have nothing to refuse
        """Refuse a model of the architecture whose layers run otherwise, with a ``ValueError``."""

    def base(self, model: PreTrainedModel) -> Any:
        """The module that runs the layers one after the other."""
        return model.base_model

    def heads(self, model: PreTrainedModel, reads: str) -> Iterator[tuple[nn.Module, str, Any]]:
        """Modules around the base that must hand something on: each with a method, and what runs instead of that.

        Parameters
        ----------
        reads : where the model's head reads
        """
        return iter(())

    def told(self) -> int | None:
        """What a head told its base in another way than by the argument ``LAST``; None: nothing."""
        return None

    def run(
        self, forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], handed: Mapping[str, Any]
    ) -> Any:
        """The base's own forward, with arguments that it is to hand on to its layers."""
        return forward(*args, **kwargs, **handed)

    def unmasked(self, mask: Tensor) -> Tensor | None:
        """The mask with which the base runs instead of that of a batch: one that hides nothing."""
        return None

    def layers(self, base: Any) -> Sequence[Any]:
        """The transformer layers of a base, in the order in which they run; one that runs again stands there again."""
        return attrgetter(self.layer_list)(base)

    def staying(self, base: Any) -> Collection[int]:
        """Layers, counted from 0, that later ones need at their place, if only without their blocks."""
        return ()

    def attention_block(self, layer: Any) -> Any:
        """The attention module of a layer."""
        return attrgetter(self.block)(layer)

    def paths(self, layer: Any) -> LayerPaths:
        """Where a layer keeps its linear layers, activation and norms."""
        return self.layer_paths

    def head_widths(self, layer: Any) -> tuple[int, int, int]:
        """Queries, keys and values that a head has; it has as many inputs to the output layer as it has queries."""
        size = getattr(self.attention_block(layer), self.head_size)
        return size, size, size

    def cached_states(self, layer: Any, config: Any) -> tuple[int, int]:
        """Heads of a layer whose keys a cache holds, and the size of each; those of no block as it stands for them."""
        if not attends(layer):
            return NOBODY
        structure = layer_structure_of(layer)
        whole = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        heads = whole if structure is None else len(structure.heads)
        return heads, getattr(self.attention_block(layer), self.head_size)

    def parts(self, layer: Any) -> LayerParts:
        """What runs before and after a layer's attention: what is registered on the layer, or its own modules."""
        registered = registered_parts(layer)
        return self.own_parts(layer) if registered is None else registered

    def states(
        self,
        layer: Any,
        qkv: tuple[Tensor, ...],
        alive: Survivors,
        arguments: Mapping[str, Any],
        pooled: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by heads, with positions in them if the architecture rotates.

        Parameters
        ----------
        qkv : what :meth:`LayerParts.qkv` gives
        alive : how the rows divide into sequences, and where they stood
        arguments : the layer's arguments by name
        pooled : whether the pooled token of each sequence alone needs a context

        Returns
        -------
        (batch, heads, queries, head_dim), and twice (batch, key heads, keys, head_dim)
        """
        query, key, value = qkv
        size = getattr(self.attention_block(layer), self.head_size)
        if pooled:
            # Where one linear layer computes all three, the queries of all tokens are there.
            own = query if query.shape[0] == alive.batch else alive.pooled(query, last=self.causal)
            query = split_heads(own[:, None], size)
        else:
            query = alive.heads(query, size)
        query, key = self.rotate(layer, query, alive.heads(key, size), alive, arguments, pooled)
        return query, key, alive.heads(value, size)

    def rotate(
        self, layer: Any, query: Tensor, key: Tensor, alive: Survivors, arguments: Mapping[str, Any], pooled: bool
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys by heads, with rotary positions if the architecture has them; see :meth:`states`."""
        return query, key

    def attention(self, layer: Any) -> tuple[float, float]:
        """Scale of the attention products, and dropout of the probabilities (0 outside training)."""
        block = self.attention_block(layer)
        scale = getattr(block, "scaling", getattr(block, self.head_size) ** -0.5)
        return scale, attrgetter(self.attention_dropout)(block) if block.training else 0.0

    def reach(self, layer: Any) -> int | None:
        """Positions that a query of a decoder's layer sees, its own among them; None: all before it."""
        return None

    def bias(self, layer: Any, length: int, arguments: Mapping[str, Any]) -> Tensor | None:
        """What positions bring to the attention products, or None.

        A bias of each distance for all heads that the layer once had, (1, heads, n_0, n_0), unless :meth:`pairs` reads
        another table.
        """
        return None

    def pairs(
        self,
        layer: Any,
        bias: Tensor | None,
        query: Tensor,
        key: Tensor,
        alive: Survivors,
        arguments: Mapping[str, Any],
    ) -> Tensor | None:
        """What is added to the attention products of those alive: (batch or 1, heads, queries, keys), or None.

        Parameters
        ----------
        bias : of :meth:`bias`
        query, key : of :meth:`states`; queries of all, or of the first of each text alone
        """
        own = own_bias(layer, bias)
        if own is None:
            return None
        pairs = alive.between(own, query.dtype)
        return pairs if query.shape[2] == pairs.shape[2] else pairs[:, :, : query.shape[2]]

    def head_tables(self, base: Any) -> list[Tensor]:
        """Weights with a column for each head, which all layers share."""
        return []

    def result(self, hidden: Tensor, bias: Tensor | None) -> Any:
        """What a layer's own forward returns for this hidden state."""
        return hidden

    def finish(self, output: Any, state: Any) -> Any:
        """What the base returns, given what its own forward returned for a pass."""
        return output

    def prefill(self, model: PreTrainedModel, input_ids: Tensor, mask: Tensor | None = None) -> Any:
        """The pass in which tokens are eliminated, over (batch, n) token ids.

        Parameters
        ----------
        mask : (batch, n) 0 on padding; None: there is none
        """
        return model(input_ids=input_ids, attention_mask=mask)

    def shape(self, layer: Any) -> LayerShape:
        """Number of weights of the layer's linear layers."""
        paths = self.paths(layer)

        def weights(*names: str) -> int:
            return sum(weight_of(attrgetter(name)(layer)).numel() for name in names)

        states, widths = weights(*paths.states), self.head_widths(layer)
        query, attention = states * widths[0] // sum(widths), weight_of(attrgetter(paths.output)(layer)).shape[1]
        return LayerShape(
            query=query,
            key_value=states - query,
            output=weights(paths.output),
            feed_forward=weights(*paths.inner, paths.outer),
            attention=attention,
            causal=self.causal,
            heads=attention // widths[0],
            neurons=weight_of(attrgetter(paths.outer)(layer)).shape[1],
            reach=self.reach(layer) or 0,
        )

    @abstractmethod
    def resize(self, layer: Any, heads: int) -> None:
        """Tell the layer's modules, whose weights have changed, how many heads they have."""

    def pruned_forward(self, layer: Any) -> Any:
        """What its attention module runs, a plain function, where a pruned layer's cannot run as it is; else None."""
        return None if attends(layer) else no_output

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        """The dropouts of the hidden state; those of attention probabilities are not among them."""
        base = self.base(model)
        for module, names in (
            (base, self.base_dropouts),
            *((layer, self.layer_dropouts) for layer in dict.fromkeys(self.layers(base))),
        ):
            yield from (attrgetter(name)(module) for name in names)

    def settle(self, base: Any, layer: Any) -> None:  # noqa: B027 most have nothing that needs it
        """Compute once what a layer's pass needs of weights alone: they are laid out for serving, and never change.

        Parameters
        ----------
        layer : of the base, or a narrowed copy of one
        """

    def drop_attention(self, layer: Any, share: float) -> float:
        """Set the dropout of the layer's attention probabilities, and say what it was."""
        owner, _, name = f"{self.block}.{self.attention_dropout}".rpartition(".")
        module = attrgetter(owner)(layer)
        before = float(getattr(module, name))
        setattr(module, name, share)
        return before

    def reads(self, model: PreTrainedModel) -> str:
        """Where the model's head reads: one of ``POOLED``, ``ALL``, ``SURVIVORS``."""
        return POOLED if type(model).__name__.endswith(self.pooled_heads) else ALL


def is_of_transformers(model: Any) -> bool:
    """Whether a model's class is transformers' own: its head hands arguments on, and its name says what it reads."""
    return type(model).__module__.startswith("transformers.")


def weight_of(module: nn.Linear | Conv1D) -> Tensor:
    """Weight of a linear module, (out, in); GPT-2 keeps it the other way round."""
    weight = module.weight.detach()
    return weight.T if isinstance(module, Conv1D) else weight


def split_heads(states: Tensor, size: int) -> Tensor:
    """(batch, n, heads * size) to (batch, heads, n, size)."""
    return states.unflatten(2, (-1, size)).transpose(1, 2)  # type: ignore[no-untyped-call]


@cache
def parameter_names(forward: Any) -> tuple[str, ...]:
    """Names of a method's parameters, without ``self``."""
    return tuple(signature(forward).parameters)[1:]
