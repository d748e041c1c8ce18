"""One decoding step of a layer with top-k attention, over whatever its cache holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from latadj.elimination.architectures import Architecture
from latadj.elimination.cache import Decoding
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk.attention import masked_topk_attention


def decoding_step(
    layer: Any, index: int, step: Decoding, architecture: Architecture, arguments: Mapping[str, Any], hidden: Tensor
) -> Tensor:
    """(batch, steps, width) to the same: each new token attends to its k largest keys among those held and new.

    transformers' own forward, which runs the other layers here, would attend to all of them.
    """
    batch, steps, _ = hidden.shape
    new = Survivors(np.full(batch, steps), None, steps, hidden.device)
    rows = hidden.flatten(0, 1)
    parts = architecture.parts(layer)
    query, key, value = architecture.states(layer, parts.qkv(rows, None), new, arguments)
    k, visible = step.topk.layers[index], step.visible(index)
    assert k is not None
    # Beside int8 products states may be in bf16; what is held is in the model's own type.
    query, key, value = (states.to(rows.dtype) for states in (query, key, value))
    key, value = arguments["past_key_values"].update(key, value, index)
    scale, dropout = architecture.attention(layer)
    context, _ = masked_topk_attention(k, query, key, value, visible, scale, dropout)
    return parts.feed_forward(parts.project(new.rows(context), rows)).view_as(hidden)
