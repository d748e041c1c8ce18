"""How much each part of a model matters, by the gradients of a loss."""

from operator import attrgetter

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.pruning.surgery import remaining_structure
from latadj.pruning.units import PruningUnit


class Significance:
    """Gradient times activation, added up over batches.

    Taking out a head (or a neuron) is taking out its columns of the output (or outer) map, so the sum of weight times
    gradient over a column is the first-order change of the loss: the same as gradient times activation, without hooks.
    Signs cancel within a batch and not between batches.

    heads, neurons : of each layer, (heads or neurons that the layer once had,); 0 for what is gone
    """

    def __init__(self, model: PreTrainedModel) -> None:
        lefts = remaining_structure(model)
        self.heads = [torch.zeros(left.of_heads) for left in lefts]
        self.neurons = [torch.zeros(left.of_neurons) for left in lefts]

    @torch.no_grad()
    def add(self, model: PreTrainedModel) -> None:
        """Add what the gradients say that the weights hold now."""
        architecture = architecture_of(model)
        for index, (layer, left) in enumerate(zip(layers_of(model), remaining_structure(model), strict=True)):
            anatomy = architecture.prunable_paths(layer)
            for path, kept, size, sums in (
                (anatomy.output, left.heads, anatomy.head_inputs, self.heads[index]),
                (anatomy.outer, left.neurons, 1, self.neurons[index]),
            ):
                part = attrgetter(path)(layer)
                if not kept or part.weight.grad is None:
                    continue
                product = (part.weight * part.weight.grad).float()
                columns = product.sum(dim=1 if isinstance(part, Conv1D) else 0).cpu()
                sums[list(kept)] += columns.view(len(kept), size).sum(dim=1).abs()

    def of(self, part: PruningUnit) -> float:
        """The significance of a head, or of a group of neurons: the sum over them."""
        if part.kind == "head":
            return float(self.heads[part.layer][part.index])
        return float(self.neurons[part.layer][list(part.neurons)].sum())
