"""Whether weights are those that a dial's levels were made for: a level is the first heads and neurons of a layer."""

import hashlib
from operator import attrgetter

from transformers import PreTrainedModel

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.architectures.base import weight_of


def order_checksum(model: PreTrainedModel) -> str:
    """A short name for the weights of a model's heads and neurons in their order: 16 hexadecimal digits.

    It is made of two outputs of each layer's attention and feed-forward block, so that a file is read in a few places
    only. Weights in fp16 or bf16 have the same one when they are loaded in fp32.

    Raises
    ------
    ValueError
        if the architecture is unknown.
    """
    architecture, digest = architecture_of(model), hashlib.sha256()
    for layer in layers_of(model):
        paths = architecture.paths(layer)
        for path in (paths.output, paths.outer):
            weight = weight_of(attrgetter(path)(layer))
            rows = weight[:: max(len(weight) // 2, 1)][:2]
            digest.update(f"{tuple(weight.shape)}".encode())
            digest.update(rows.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def checksum_beside(model: PreTrainedModel, metadata: CheckpointMetadata) -> str | None:
    """The checksum that is to stand beside a model's weights; None where no level goes by their order."""
    return order_checksum(model) if metadata.dial is not None and metadata.dial.ordered else None


def check_order(model: PreTrainedModel, metadata: CheckpointMetadata) -> None:
    """Refuse weights other than those that ``latadj.json`` was written beside.

    Parameters
    ----------
    model : as it was loaded
    metadata : of its folder; without a checksum nothing is refused

    Raises
    ------
    ValueError
    """
    expected = metadata.order_checksum
    if metadata.dial is None or not metadata.dial.ordered or expected is None:
        return
    if (found := order_checksum(model)) != expected:
        raise ValueError(
            f"its weights (order_checksum {found}) are not those that latadj.json was saved beside ({expected}), so "
            "that its dial would leave out the wrong heads and neurons: copy all files from one folder"
        )
