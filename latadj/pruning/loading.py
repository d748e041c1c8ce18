"""Pruned models in files: transformers builds whole layers, so the shapes come from the pruning map."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from latadj.elimination.layer_structure import ModelStructure
from latadj.pruning.surgery import apply


def load_pruned(
    auto: Any,
    config: Any,
    folder: Path,
    weights: Iterable[Path],
    structure: ModelStructure,
    *,
    ignore_mismatched_sizes: bool = False,
) -> tuple[PreTrainedModel, set[str]]:
    """A pruned model, in fp32 and eval mode, and the names of weights that its files do not hold.

    Parameters
    ----------
    auto : transformers' auto class that makes the model
    weights : the safetensors files in ``folder``
    ignore_mismatched_sizes : leave out weights of another shape, such as those of a head for other labels

    Raises
    ------
    ValueError
        if the pruning map does not fit the model, or a weight has another shape than the map says.
    """
    # Shapes alone: whole layers of random numbers would take more memory than the pruned model, and time to draw.
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
    apply(model, structure)
    if model.can_generate() and (folder / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    saved: dict[str, Tensor] = {}
    for path in weights:
        saved |= load_file(path)
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    mismatched = {name for name, weight in saved.items() if name in shapes and shapes[name] != weight.shape}
    if mismatched and not ignore_mismatched_sizes:
        name = min(mismatched)
        actual, expected = tuple(saved[name].shape), tuple(shapes[name])
        raise ValueError(f"{name} has the shape {actual}, by its pruning map it should have {expected}")
    matching = {name: weight.float() for name, weight in saved.items() if name not in mismatched}
    # As from_pretrained does: the memory-mapped file is used in place, so that pages which nobody reads, such as most
    # of the embeddings, take no memory.
    missing = set(model.load_state_dict(matching, strict=False, assign=True).missing_keys)
    model.tie_weights()
    _draw_missing(model)
    return model.eval(), missing - set(model.all_tied_weights_keys)  # tied weights are saved once


def _draw_missing(model: PreTrainedModel) -> None:
    """Initialise weights that were in no file, such as those of a new head, as their architecture does."""
    missing = {name for name, weight in model.named_parameters() if weight.is_meta}
    if not missing:
        return
    # transformers initialises what is not marked as initialised; the empty modules were marked already.
    for module in model.modules():
        module._is_hf_initialized = False
    for name, weight in list(model.named_parameters()):
        if name in missing:
            owner, _, own = name.rpartition(".")
            setattr(model.get_submodule(owner), own, nn.Parameter(torch.empty_like(weight, device="cpu")))
        else:
            weight._is_hf_initialized = True
    model.initialize_weights()
