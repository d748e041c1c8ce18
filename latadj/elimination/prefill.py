"""What a prefill leaves in a cache: the keys and values of those that entered each layer."""

from typing import Any

from torch import Tensor

from latadj.elimination.architectures.base import split_heads
from latadj.elimination.architectures.pruned_forward import no_states
from latadj.elimination.cache import store
from latadj.elimination.survivors import Survivors


def cache_states(past: Any, index: int, entering: Survivors, key: Tensor, value: Tensor, after: int) -> None:
    """Keep a layer's keys and values; those of the first layer at every column, so that positions are counted right."""
    if index > 0 or entering.origin is None:
        store(past, index, key, value, entering.length, entering.real, after)
        return
    columns = (at_positions(entering.rows(states.transpose(1, 2).flatten(2)), entering) for states in (key, value))
    key, value = (split_heads(states, key.shape[3]) for states in columns)
    store(past, index, key, value, entering.length, None)


def cache_nobody(past: Any, index: int, entering: Survivors, like: Tensor, after: int) -> None:
    """Keep what stands for the keys and values of a layer whose attention block was removed.

    Parameters
    ----------
    like : of the states' type and device
    """
    columns = entering.length if index == 0 else entering.width
    nobody = no_states(like.new_empty(entering.batch, 0), columns)
    store(past, index, nobody, nobody, entering.length, None if index == 0 else entering.real, after)


def at_positions(rows: Tensor, alive: Survivors) -> Tensor:
    """(rows, features) to (batch, n_0, features), zero where nobody is alive."""
    if alive.origin is None:
        return alive.frame(rows)
    everyone = rows.new_zeros(alive.batch * alive.length, rows.shape[-1])
    return everyone.index_copy(0, alive.origin, rows).view(alive.batch, alive.length, -1)
