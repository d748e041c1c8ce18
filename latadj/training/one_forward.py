"""The loss of a batch as one forward of a model that several processes train."""

from typing import Any

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from latadj.tasks.encoding.batches import Batch
from latadj.training.objective import Loss


def one_forward(model: Any, loss: Loss, batch: Batch) -> Tensor:
    """The loss of a batch, a scalar.

    DistributedDataParallel averages the gradients of its last forward: a loss of several passes, each another profile,
    has to happen inside one. So the model's forward is the whole loss for that one call.

    Parameters
    ----------
    model : with DistributedDataParallel around it where several processes train it
    """
    if not isinstance(model, DistributedDataParallel):
        return loss(model, batch)
    inner = model.module
    own = inner.__dict__.get("forward")  # what mixed precision wraps around it, if anything

    def restore() -> None:
        inner.__dict__.pop("forward", None)
        if own is not None:
            inner.__dict__["forward"] = own

    def whole_loss(batch: Batch) -> Tensor:
        restore()
        return loss(inner, batch)

    inner.__dict__["forward"] = whole_loss
    try:
        return model(batch)
    finally:
        restore()
