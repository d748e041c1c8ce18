"""What holds for one batch inside a ``with`` block: tokens that stay, and hidden states that are known already."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.attach import attached
from latadj.elimination.attachment import overriding
from latadj.elimination.forward_state import HiddenStateCache


@contextmanager
def protecting(model: PreTrainedModel, protect: Tensor | None) -> Iterator[PreTrainedModel]:
    """Never eliminate some tokens of a batch inside a ``with`` block, for this thread alone.

    A layer keeps at least as many tokens of a sequence as it has protected ones (the pooled position among
    them), so a text of protected ones costs what it costs without elimination. What :func:`at_speedup` and
    :func:`at_profile` set, around the block or inside it, holds.

    Parameters
    ----------
    protect : (batch, n_0) True on tokens that stay, padding where the batch has it; None protects none

    Raises
    ------
    ValueError
        if nothing is attached; and in the pass, if the mask does not fit the batch.
    """
    elimination = attached(model)
    setting = elimination.setting()
    with overriding(elimination, replace(setting, options=replace(setting.options, protect=protect))):
        yield model


@contextmanager
def starting_at(model: PreTrainedModel, cache: HiddenStateCache) -> Iterator[PreTrainedModel]:
    """Note what enters a layer, or start a pass with what was noted, inside a ``with`` block, for this thread alone.

    For one batch without elimination that runs again after upper layers were changed.

    Parameters
    ----------
    cache : of this very batch

    Raises
    ------
    ValueError
        if nothing is attached, or the model eliminates.
    """
    elimination = attached(model)
    setting = elimination.setting()
    if setting.profile.eliminates:
        raise ValueError("a pass that eliminates starts with the first layer: who is alive is decided on its way")
    with overriding(elimination, replace(setting, options=replace(setting.options, hidden_states=cache))):
        yield model
