"""The steps of a layer whose shapes depend on what they read, each one operator for torch's exporter.

The exporter follows shapes, and how many tokens leave a layer is not known before the graph runs. So it sees one length
in all layers, and what knows the real one is written in ONNX: see :mod:`latadj.export.functions`. Outside an export
they return zeros.
"""

from typing import Any

import torch
from torch import Tensor

DOMAIN = "latadj"


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, heads: int, scale: float) -> Tensor:
    """Contexts of the queries.

    Parameters
    ----------
    query, key, value : (batch, queries or keys, heads * head_dim)
    bias : (batch, 1, 1, keys) what is added to the products: 0 on tokens, the lowest number on padding
    """
    (context,) = _operator("attend", (query, key, value, bias), [query], heads=heads, scale=scale)
    return context


def attend_and_leave(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    hidden: Tensor,
    leaving: Tensor,
    falls: Tensor,
    heads: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Contexts and hidden states of those that leave a layer, and their bias.

    Parameters
    ----------
    hidden : (batch, n, width)
    leaving : (batch,) how many tokens of each text leave
    falls : () whether any text loses one; else everyone leaves, and nobody is scored
    """
    inputs = (query, key, value, bias, hidden, leaving, falls)
    context, hidden, bias = _operator("attend_and_leave", inputs, [query, hidden, bias], heads=heads, scale=scale)
    return context, hidden, bias


def attend_and_score(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, falls: Tensor, heads: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Contexts, and scores (batch, n) unless everyone leaves."""
    inputs = (query, key, value, bias, falls)
    context, scores = _operator("attend_and_score", inputs, [query, bias[:, 0, 0]], heads=heads, scale=scale)
    return context, scores


def leave(
    attended: Tensor,
    everyone: Tensor,
    places: Tensor,
    bias: Tensor,
    scores: Tensor,
    leaving: Tensor,
    falls: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Those that leave a layer, everyone with those that entered put back, the places of those that leave, their bias.

    Parameters
    ----------
    attended : (batch, n, width) those that entered, after attention
    everyone : (batch, n_0, width)
    places : (batch, n) where they stood in the input
    """
    inputs = (attended, everyone, places, bias, scores, leaving, falls)
    attended, everyone, places, bias = _operator("leave", inputs, [attended, everyone, places, bias])
    return attended, everyone, places, bias


def put_back(everyone: Tensor, places: Tensor, states: Tensor) -> Tensor:
    """(batch, n_0, width) with the rows at (batch, n) places replaced by (batch, n, width)."""
    (everyone,) = _operator("put_back", (everyone, places, states), [everyone])
    return everyone


def _operator(name: str, inputs: tuple[Tensor, ...], like: list[Tensor], **numbers: Any) -> tuple[Tensor, ...]:
    """An operator of ours whose outputs are of the types and shapes of some tensors."""
    outputs = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{name}",
        inputs,
        numbers,
        dtypes=[one.dtype for one in like],
        shapes=[one.shape for one in like],
        version=1,
    )
    return tuple(outputs)
