"""At what profile and speedup an attached model runs: read it, set it, set it inside a block for one thread."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.attach import attached, dial_of
from latadj.elimination.cost import SURVIVORS
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.patching import HiddenStateCache, ScoreObserver, SurvivorObserver, overriding
from latadj.elimination.profiles import Profile
from latadj.elimination.scores import SCORES


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


def set_speedup(model: PreTrainedModel, speedup: float) -> None:
    """Turn the model's dial for every thread that does not use :func:`at_speedup`.

    Raises
    ------
    ValueError
        if nothing is attached, there is no dial, or the speedup is off the dial.
    """
    elimination = attached(model)
    elimination.default = replace(elimination.default, profile=dial_of(model).profile(speedup))


@contextmanager
def at_speedup(model: PreTrainedModel, speedup: float) -> Iterator[PreTrainedModel]:
    """Turn the dial inside a ``with`` block, for this thread (or async task) alone. Raises as :func:`set_speedup`."""
    profile = dial_of(model).profile(speedup)
    with at_profile(model, profile):
        yield model


@contextmanager
def at_profile(
    model: PreTrainedModel,
    profile: Profile,
    *,
    score: str | None = None,
    window: ObservationWindow | None = None,
    prompt: Sequence[int] | None = None,
    score_observer: ScoreObserver | None = None,
    survivor_observer: SurvivorObserver | None = None,
) -> Iterator[PreTrainedModel]:
    """Run an explicit profile inside a ``with`` block, for this thread alone.

    Parameters
    ----------
    profile : keep ratio of each layer
    score : a name in ``SCORES``; the dial's when left out
    window : whose attention is scored and who is protected, in a decoder; the dial's when left out
    prompt : prompt tokens of each sequence of a decoder's batch, where a continuation follows in the same pass: it is
        never eliminated, and only the last prompt token and the continuation have an output
    score_observer : called with the scores of every layer of every pass
    survivor_observer : called with the survivors of every layer of every pass

    Tokens that :func:`protecting` names around the block are protected inside it.
    """
    elimination = attached(model)
    if len(profile.keep) != len(elimination.default.profile.keep):
        raise ValueError(
            f"a profile of {len(profile.keep)} keep ratios for {len(elimination.default.profile.keep)} layers"
        )
    if profile.whole_length and (elimination.architecture.causal or elimination.reads == SURVIVORS):
        raise ValueError("whole_length: a level holds for all texts of a decoder, and of a model that feeds one")
    if score is not None and score not in SCORES:
        raise ValueError(f"score={score}: expected one of {', '.join(SCORES)}")
    if prompt is not None and not elimination.architecture.causal:
        raise ValueError("prompt=: only a decoder has a continuation after its prompt")
    defaults = elimination.default
    with overriding(
        elimination,
        profile=profile,
        score=SCORES[score] if score else defaults.score,
        window=window or defaults.window,
        score_observer=score_observer,
        survivor_observer=survivor_observer,
        prompt=None if prompt is None else tuple(int(length) for length in prompt),
        hidden_states=None,
    ):
        yield model


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
    with overriding(attached(model), protect=protect):
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
    if elimination.options().profile.eliminates:
        raise ValueError("a pass that eliminates starts with the first layer: who is alive is decided on its way")
    with overriding(elimination, hidden_states=cache):
        yield model
