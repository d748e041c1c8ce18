"""What really enters and leaves the layers of a model, in whatever shape they hand it on."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.architectures import distinct_layers


@torch.no_grad()
def layer_states(model: PreTrainedModel, batch: dict[str, Any]) -> list[Tensor]:
    """What enters the first layer, and what leaves each, in a pass over a batch."""
    states: list[Tensor] = []

    def note(layer: Any, args: tuple[Any, ...], output: Any) -> None:
        states.extend([args[0]] if not states else [])
        states.append(output[0] if isinstance(output, tuple) else output)

    hooks = [layer.register_forward_hook(note) for layer in distinct_layers(model)]
    try:
        model(**batch)
    finally:
        for hook in hooks:
            hook.remove()
    return states
