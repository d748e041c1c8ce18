"""What transformers' own forward runs in a pruned layer, where the attention module cannot run as it is."""

from typing import Any

import torch
from torch import Tensor, nn

from latadj.elimination.layer_structure import layer_structure_of
from latadj.elimination.module_method import ModuleMethod

# Heads, and size of a head, of what stands in a cache for keys or values that nobody has: transformers takes a cache
# without any number for one that was never filled.
NOBODY = (1, 1)


def own_bias(module: Any, bias: Tensor | None) -> Tensor | None:
    """Of a bias for all heads that a layer once had, (1, heads, queries, keys), that of those which are left.

    One that all heads share stays.

    Parameters
    ----------
    module : the layer, or its attention module
    """
    structure = layer_structure_of(module)
    if bias is None or structure is None or not lacks_heads(module) or bias.shape[1] == 1:
        return bias
    return bias[:, list(structure.heads)]


def lacks_heads(module: Any) -> bool:
    """Whether a layer, or its attention module, has fewer heads than it once had."""
    structure = layer_structure_of(module)
    return structure is not None and len(structure.heads) < structure.of_heads


def shadow(block: nn.Module, forward: Any) -> None:
    """Run ``forward`` instead of an attention module's own; None: its own."""
    if forward is None:
        block.__dict__.pop("forward", None)
    else:
        block.__dict__["forward"] = ModuleMethod(forward, block)


def no_context(block: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """An attention module without heads whose output layer stands outside it."""
    return hidden_states[..., :0], None


def no_output(block: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """An attention module without heads; its cache still counts the tokens, since positions go by it."""
    past = kwargs.get("past_key_values")
    if past is not None:
        nobody = no_states(hidden_states, hidden_states.shape[1])
        past.update(nobody, nobody, block.layer_idx)
    return torch.zeros_like(hidden_states), None


def no_states(hidden: Tensor, count: int) -> Tensor:
    """What stands in a cache for keys or values that nobody has: (batch, 1, count, 1).

    Parameters
    ----------
    hidden : of the batch, for its size, type and device
    """
    heads, size = NOBODY
    return hidden.new_zeros(hidden.shape[0], heads, count, size)
