"""A pruned model back in whole layers, for programs that know nothing of pruning."""

import copy
from operator import attrgetter

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.attach import is_attached, topk_attention_of
from latadj.kernels.linear import weight_of
from latadj.pruning.surgery import members, remaining_structure, state_rows


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
    if is_attached(model) and (hard := topk_attention_of(model)) is not None:
        raise ValueError(
            f"zero_fill_pruned: this model has top-k attention ({hard.text()}), which plain transformers does not "
            "compute; prune without topk_attention.k"
        )
    lefts = remaining_structure(model)
    architecture = architecture_of(model)
    found = type(model)(copy.deepcopy(model.config)).to(model.dtype).to(model.device).eval()
    if model.can_generate():
        found.generation_config = copy.deepcopy(model.generation_config)
    ours, own = model.state_dict(), found.state_dict()
    found.load_state_dict(
        {name: weight for name, weight in ours.items() if name in own and own[name].shape == weight.shape}, strict=False
    )
    for layer, source, left in zip(layers_of(found), layers_of(model), lefts, strict=True):
        anatomy = architecture.prunable_paths(layer)
        for path, rows in zip(anatomy.states, state_rows(anatomy, left.heads, left.of_heads), strict=True):
            _fill(layer, source, path, rows, outputs=True)
        _fill(layer, source, anatomy.output, members(left.heads, anatomy.head_inputs), outputs=False)
        neurons = torch.tensor(left.neurons, dtype=torch.long)
        for path in anatomy.inner:
            _fill(layer, source, path, neurons, outputs=True)
        _fill(layer, source, anatomy.outer, neurons, outputs=False)
    return found


def _fill(layer: nn.Module, source: nn.Module, path: str, kept: Tensor, *, outputs: bool) -> None:
    """Put a pruned map's weights at their places in a whole one, whose others are zero."""
    target, part = attrgetter(path)(layer), attrgetter(path)(source)
    weight, into = weight_of(part), weight_of(target)
    into.zero_()
    if target.bias is not None:
        target.bias.zero_()
    if not len(kept):
        return
    if outputs:
        into[kept] = weight
        if target.bias is not None:
            target.bias[kept] = part.bias
    else:
        into[:, kept] = weight
        if target.bias is not None:
            target.bias.copy_(part.bias)
