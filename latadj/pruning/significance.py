"""How much each head and neuron of a model matters, by the gradients of a loss."""

from operator import attrgetter

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.pruning.surgery import remaining_structure
from latadj.pruning.units import PruningUnit


class Significance:
    """Gradient times activation, added up over batches.

    Removing a head (or a neuron) removes its columns of the output (or outer) map, so the sum of weight times
    gradient over a column is the first-order change of the loss: the same as gradient times activation, without hooks.
    Signs cancel within a batch and not between batches.

    heads, neurons : of each layer, (heads or neurons of the layer before pruning,); 0 for those that are removed
    """

    def __init__(self, model: PreTrainedModel) -> None:
        structures = remaining_structure(model)
        self.heads = [torch.zeros(structure.of_heads) for structure in structures]
        self.neurons = [torch.zeros(structure.of_neurons) for structure in structures]

    @torch.no_grad()
    def add(self, model: PreTrainedModel) -> None:
        """Add the gradients that the weights hold now."""
        architecture = architecture_of(model)
        for index, (layer, structure) in enumerate(zip(layers_of(model), remaining_structure(model), strict=True)):
            paths = architecture.paths(layer)
            for path, remaining, size, sums in (
                (paths.output, structure.heads, architecture.head_widths(layer)[0], self.heads[index]),
                (paths.outer, structure.neurons, 1, self.neurons[index]),
            ):
                linear = attrgetter(path)(layer)
                if not remaining or linear.weight.grad is None:
                    continue
                product = (linear.weight * linear.weight.grad).float()
                columns = product.sum(dim=1 if isinstance(linear, Conv1D) else 0).cpu()
                sums[list(remaining)] += columns.view(len(remaining), size).sum(dim=1).abs()

    def of(self, unit: PruningUnit) -> float:
        """The significance of a head, or of a group of neurons: the sum over them."""
        if unit.kind == "head":
            return float(self.heads[unit.layer][unit.index])
        return float(self.neurons[unit.layer][list(unit.neurons)].sum())
