"""A random order of heads and neurons."""

import torch

from latadj.pruning import Significance


def at_random(model, seed=0):
    """A significance that puts everything in another order."""
    generator = torch.Generator().manual_seed(seed)
    significance = Significance(model)
    significance.heads = [torch.rand(len(values), generator=generator) for values in significance.heads]
    significance.neurons = [torch.rand(len(values), generator=generator) for values in significance.neurons]
    return significance
