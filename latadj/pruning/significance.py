"""How much heads and feed-forward neurons count for the loss, by gradient times activation: one pass back for all.

What a head or a neuron hands to the next map is ``a``, the gradient of the loss there ``g``. ``-a · g`` is what the loss
would change to first order were it zero; its size is summed over all word-vectors, so that opposite changes do not
cancel.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.families import family_of, layers_of
from latadj.pruning.parts import Part
from latadj.pruning.surgery import lefts_of

# One forward pass over a batch, which gives its loss.
Passes = Iterable[Callable[[], Tensor]]
# Given a layer's number and, for each of its word-vectors, a · g of every input of a map: (word-vectors, inputs).
Reader = Callable[[int, Tensor], None]


def significance(model: PreTrainedModel, parts: Sequence[Part], passes: Passes) -> dict[Part, float]:
    """Significance of the heads and groups of neurons among ``parts`` that are left in a model.

    Returns
    -------
    part -> summed size of the change in loss without it; in no unit, but comparable among all parts
    """
    lefts = lefts_of(model)
    found: dict[Part, float] = {}
    members: dict[tuple[str, int], list[tuple[Part, Tensor]]] = {}
    for part in parts:
        left = lefts[part.layer]
        if part.index is None or not part.is_in(left):
            continue
        if part.kind == "head":
            places = torch.tensor([left.heads.index(part.index)])
        else:
            gone = set(part.neurons)
            places = torch.tensor([place for place, neuron in enumerate(left.neurons) if neuron in gone])
        found[part] = 0.0
        members.setdefault((part.kind, part.layer), []).append((part, places))

    def read(kind: str, layer: int, products: Tensor) -> None:
        for part, places in members.get((kind, layer), ()):
            change = products.index_select(1, places.to(products.device)).sum(dim=1)
            found[part] += float(change.abs().sum())

    def heads(layer: int, products: Tensor) -> None:
        count = len(lefts[layer].heads)
        read("head", layer, products.unflatten(1, (count, -1)).sum(dim=2))  # type: ignore[no-untyped-call]

    with _reading(model, heads, lambda layer, products: read("neurons", layer, products)):
        _run(model, passes)
    return found


def neuron_ranks(model: PreTrainedModel, passes: Passes) -> list[Tensor]:
    """Significance of every single neuron, by layer: (neurons that the layer once had,), 0 for those that are gone."""
    lefts = lefts_of(model)
    found = [torch.zeros(left.of_neurons, dtype=torch.float64) for left in lefts]

    def neurons(layer: int, products: Tensor) -> None:
        found[layer][list(lefts[layer].neurons)] += products.abs().sum(dim=0).double().cpu()

    with _reading(model, lambda layer, products: None, neurons):
        _run(model, passes)
    return found


def _run(model: PreTrainedModel, passes: Passes) -> None:
    was_training = model.training
    model.eval()
    try:
        for run in passes:
            run().backward()  # type: ignore[no-untyped-call]
            model.zero_grad(set_to_none=True)
    finally:
        model.train(was_training)


@contextmanager
def _reading(model: PreTrainedModel, heads: Reader, neurons: Reader) -> Iterator[None]:
    """Inside the block, every pass back tells what enters the output map of attention, and the outer feed-forward map.

    Parameters
    ----------
    heads, neurons : told of each of the two maps
    """
    family, handles = family_of(model), []
    for index, (layer, left) in enumerate(zip(layers_of(model), lefts_of(model), strict=True)):
        anatomy = family.anatomy(layer)
        for has, path, reader in ((left.heads, anatomy.output, heads), (left.neurons, anatomy.outer, neurons)):
            if has:
                part: nn.Module = attrgetter(path)(layer)
                handles.append(part.register_forward_pre_hook(_listener(index, reader)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _listener(layer: int, reader: Reader) -> Callable[[nn.Module, Any], None]:
    def listen(module: nn.Module, arguments: Any) -> None:
        states = arguments[0]

        def back(gradient: Tensor) -> None:
            products = states.detach().float() * gradient.float()
            reader(layer, products.flatten(0, -2))

        states.register_hook(back)

    return listen
