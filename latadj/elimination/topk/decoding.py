"""One decoding step of a layer with selective hard attention, over whatever its cache holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from latadj.elimination.architectures import Architecture
from latadj.elimination.cache import Decoding
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk.attention import topk_attention


def decoding_step(
    layer: Any, index: int, step: Decoding, architecture: Architecture, given: Mapping[str, Any], hidden: Tensor
) -> Tensor:
    """(batch, steps, width) to the same: each new token attends to its strongest keys among those held and new.

    transformers' own forward, which runs the other layers here, would attend to all of them.
    """
    batch, steps, _ = hidden.shape
    new = Survivors(np.full(batch, steps), None, steps, hidden.device)
    rows = hidden.flatten(0, 1)
    query, key, value = architecture.states(layer, rows, None, new, given)
    most, seen = step.hard.layers[index], step.seen(index)
    assert most is not None
    # Beside int8 maps states may be in bf16; what is held is in the model's own type.
    query, key, value = (states.to(rows.dtype) for states in (query, key, value))
    key, value = given["past_key_values"].update(key, value, index)
    scale, dropout = architecture.attention(layer)
    context, _ = topk_attention(most, query, key, value, seen, scale, dropout)
    return architecture.feed_forward(layer, architecture.project(layer, new.rows(context), rows)).view_as(hidden)
