"""Orders a model's heads and neurons by their significance, so that every level is the first part of its weights."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.architectures.base import weight_of
from latadj.elimination.narrowing import forget_narrowed
from latadj.pruning.surgery import head_rows, neuron_rows, remaining_structure, state_rows
from latadj.pruning.units import Significance


@dataclass(frozen=True)
class UnitOrder:
    """The order of the heads and neurons of each layer, the most significant first.

    heads, neurons : of each layer, (heads,) and (neurons,): places among those that the layer has
    """

    heads: tuple[Tensor, ...]
    neurons: tuple[Tensor, ...]


def order_by(model: PreTrainedModel, significance: Significance) -> UnitOrder:
    """The order of a model's heads and neurons by significance; of equal ones the first come first.

    In T5, heads of all layers share a table of relative positions, so that they have one order: by the mean of their
    significance as a share of their layer's. Where layers were pruned of different heads, heads stay as they are.
    """
    structures = remaining_structure(model)
    heads = [values[list(layer.heads)] for values, layer in zip(significance.heads, structures, strict=True)]
    neurons = [values[list(layer.neurons)] for values, layer in zip(significance.neurons, structures, strict=True)]
    architecture = architecture_of(model)
    if architecture.head_tables(architecture.base(model)):
        if len({layer.heads for layer in structures}) > 1:
            # Pruned, the layers have different heads, and no order of the table's columns fits all.
            return UnitOrder(tuple(torch.arange(len(values)) for values in heads), tuple(map(_falling, neurons)))
        shared = torch.stack([values / values.sum().clamp(min=1e-30) for values in heads]).mean(dim=0)
        heads = [shared] * len(heads)
    return UnitOrder(tuple(map(_falling, heads)), tuple(map(_falling, neurons)))


def _falling(values: Tensor) -> Tensor:
    return values.argsort(descending=True, stable=True)


@torch.no_grad()
def reorder(model: PreTrainedModel, order: UnitOrder) -> None:
    """Bring a model's heads and neurons into an order, in place; it computes what it computed before.

    Raises
    ------
    ValueError
        if the architecture is unknown, or the model was lowered for serving.
    """
    architecture, structures = architecture_of(model), remaining_structure(model)
    for layer, heads, neurons in zip(layers_of(model), order.heads, order.neurons, strict=True):
        paths, widths = architecture.paths(layer), architecture.head_widths(layer)
        numbers = heads.tolist()
        for path, rows in state_rows(paths, widths, numbers, len(numbers)).items():
            _permute(attrgetter(path)(layer), rows, outputs=True)
        _permute(attrgetter(paths.output)(layer), head_rows(numbers, widths[0]), outputs=False)
        for path in paths.inner:
            _permute(attrgetter(path)(layer), neuron_rows(paths, neurons, len(neurons)), outputs=True)
        _permute(attrgetter(paths.outer)(layer), neurons, outputs=False)
        forget_narrowed(layer)
    for table in architecture.head_tables(architecture.base(model)):
        columns = torch.tensor(structures[0].heads, device=table.device)
        table[:, columns] = table[:, columns[order.heads[0].to(table.device)]]


def _permute(linear: Any, index: Tensor, *, outputs: bool) -> None:
    """Bring the outputs, or the inputs, of a linear layer into an order."""
    weight = weight_of(linear)
    index = index.to(weight.device)
    weight.copy_(weight.index_select(0 if outputs else 1, index))
    if outputs and linear.bias is not None:
        linear.bias.copy_(linear.bias[index])
