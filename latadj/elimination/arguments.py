"""What elimination takes from the arguments of a base model's pass, and what it refuses in them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def mask_of(arguments: Mapping[str, Any], inputs: Tensor) -> Tensor | None:
    """(batch, length) True on real tokens; None if all are.

    Raises
    ------
    ValueError
        if the mask that was given has other dimensions.
    """
    mask = arguments.get("attention_mask")
    if mask is not None and mask.ndim != 2:
        raise ValueError(f"attention_mask of {mask.ndim} dimensions: elimination needs (batch, length), or none")
    return None if mask is None else mask.to(device=inputs.device, dtype=torch.bool)


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
