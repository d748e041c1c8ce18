"""Rotary positions of survivors: taken where they stood in the text."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from latadj.elimination.survivors import Survivors


def rotated(
    block: Any,
    query: Tensor,
    key: Tensor,
    alive: Survivors,
    arguments: Mapping[str, Any],
    pick: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Queries and keys with rotary positions, by the function beside the attention module's class.

    Parameters
    ----------
    pick : takes the row of the pooled token out of a table of positions, where it alone has a query; None: all have
    """
    rotate = sys.modules[type(block).__module__].apply_rotary_pos_emb
    cos, sin = (alive.at_origin(table).to(key.dtype) for table in arguments["position_embeddings"])
    if pick is None:
        both: tuple[Tensor, Tensor] = rotate(query, key, cos, sin)
        return both
    return rotate(query, query, pick(cos), pick(sin))[0], rotate(key, key, cos, sin)[1]
