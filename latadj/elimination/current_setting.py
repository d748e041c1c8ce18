"""At what profile and speedup an attached model runs now."""

from transformers import PreTrainedModel

from latadj.elimination.attach import attached, dial_of
from latadj.elimination.profiles import Profile


def profile_of(model: PreTrainedModel) -> Profile:
    """The keep ratio of each layer at which a model runs now; inside a ``with`` block of this thread, the block's.

    Raises
    ------
    ValueError
        if nothing is attached.
    """
    return attached(model).options().profile


def speedup_of(model: PreTrainedModel) -> float:
    """The speedup at which a model runs now, as its dial predicts it.

    It is in the unit of the dial: in this device's time, or in FLOPs over the plain model. In FLOPs it is above 1 at
    speedup 1 where the last layer is trimmed to the one position that the head reads, which changes no output.

    Raises
    ------
    ValueError
        if nothing is attached, or there is no dial.
    """
    return dial_of(model).predicted(profile_of(model))
