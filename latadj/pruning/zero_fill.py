"""A pruned model in whole layers again, for programs that know nothing of pruning."""

import copy
from operator import attrgetter

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.architectures.base import weight_of
from latadj.elimination.attach import is_attached, topk_attention_of
from latadj.pruning.surgery import head_rows, remaining_structure, state_rows


@torch.no_grad()
def zero_fill_pruned(model: PreTrainedModel) -> PreTrainedModel:
    """A whole model that computes what a pruned one computes: what was removed is there again, as zeros.

    It loads in plain transformers and any other program, and is as large and as slow as before pruning.

    Raises
    ------
    ValueError
        if the architecture is unknown, the model was lowered for serving, or it has top-k attention, which no other
        program has.
    """
    if is_attached(model) and (topk := topk_attention_of(model)) is not None:
        raise ValueError(
            f"zero_fill_pruned: this model has top-k attention ({topk.text()}), which plain transformers does not "
            "compute; prune without topk_attention.k"
        )
    structures = remaining_structure(model)
    architecture = architecture_of(model)
    whole = type(model)(copy.deepcopy(model.config)).to(model.dtype).to(model.device).eval()
    if model.can_generate():
        whole.generation_config = copy.deepcopy(model.generation_config)
    shapes = {name: weight.shape for name, weight in whole.state_dict().items()}
    unpruned = {name: weight for name, weight in model.state_dict().items() if shapes.get(name) == weight.shape}
    whole.load_state_dict(unpruned, strict=False)
    for layer, source, structure in zip(layers_of(whole), layers_of(model), structures, strict=True):
        paths, widths = architecture.paths(layer), architecture.head_widths(layer)
        for path, rows in zip(paths.states, state_rows(widths, structure.heads, structure.of_heads), strict=True):
            _fill(layer, source, path, rows, outputs=True)
        _fill(layer, source, paths.output, head_rows(structure.heads, widths[0]), outputs=False)
        neurons = torch.tensor(structure.neurons, dtype=torch.long)
        for path in paths.inner:
            _fill(layer, source, path, neurons, outputs=True)
        _fill(layer, source, paths.outer, neurons, outputs=False)
    return whole


def _fill(layer: nn.Module, source: nn.Module, path: str, index: Tensor, *, outputs: bool) -> None:
    """Copy the weights of a pruned linear map to their places in a whole one; all others become zero."""
    target, pruned = attrgetter(path)(layer), attrgetter(path)(source)
    weight_of(target).zero_()
    if target.bias is not None:
        target.bias.zero_()
    if not len(index):
        return
    where = (index,) if outputs else (slice(None), index)
    weight_of(target)[where] = weight_of(pruned)
    if target.bias is not None:
        target.bias[index if outputs else slice(None)] = pruned.bias
