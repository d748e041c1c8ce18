"""Puts elimination into a transformers model, and takes it out again without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from transformers import PreTrainedModel

from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.families import family_of
from latadj.elimination.forward import (
    MARK,
    Elimination,
    Setting,
    base_forward,
    layer_forward,
    override_forward,
    overrides,
    restore_forward,
)
from latadj.elimination.profile import Dial, Profile
from latadj.elimination.score import SCORES
from latadj.elimination.survivors import Observer


def attach(
    model: PreTrainedModel, dial: Dial | None = None, *, speedup: float = 1.0, reads: str | None = None
) -> PreTrainedModel:
    """Let a model eliminate word-vectors; attaching again replaces what was attached.

    Parameters
    ----------
    model : a transformers model of a supported family, with or without a head
    dial : speedup -> profile; without one the model can be observed and set to explicit profiles
    speedup : where the dial stands at first
    reads : ``pooled`` or ``all``; found from the head's class when left out

    Returns
    -------
    the same model

    Raises
    ------
    ValueError
        if the family is unknown, or the dial is for another number of layers.
    """
    family = family_of(model)
    base = model.base_model
    layers = family.layers(base)
    reads = reads or family.reads(model)
    if reads not in (POOLED, ALL):
        raise ValueError(f"reads={reads}: expected {POOLED} or {ALL}")
    if dial is not None and dial.layers != len(layers):
        raise ValueError(f"this dial is for a model of {dial.layers} layers, the model has {len(layers)}: calibrate it")
    if dial is not None and dial.reads != reads:
        raise ValueError(
            f"this dial is for a head that reads {dial.reads} positions, {type(model).__name__} reads {reads}: "
            "calibrate this model"
        )
    profile = dial.profile(speedup) if dial else Profile.full(len(layers))
    default = Setting(profile, dial.score if dial else "acc")
    if is_attached(model):
        detach(model)
    setattr(base, MARK, Elimination(family, dial, reads, default))
    override_forward(base, base_forward)
    for index, layer in enumerate(layers):
        setattr(layer, MARK, index)
        override_forward(layer, layer_forward)
    return model


def detach(model: PreTrainedModel) -> PreTrainedModel:
    """Undo :func:`attach`: the model computes what it computed before, bit by bit. Returns the same model."""
    elimination = attached(model)
    base = model.base_model
    for module in (base, *elimination.family.layers(base)):
        restore_forward(module)
        delattr(module, MARK)
    return model


def is_attached(model: PreTrainedModel) -> bool:
    """Whether elimination is attached to a model."""
    return isinstance(getattr(model.base_model, MARK, None), Elimination)


def attached(model: PreTrainedModel) -> Elimination:
    """What is attached to a model.

    Raises
    ------
    ValueError
        if nothing is.
    """
    if not is_attached(model):
        raise ValueError("elimination is not attached to this model: call latadj.attach(model, dial) first")
    elimination: Elimination = getattr(model.base_model, MARK)
    return elimination


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
    model: PreTrainedModel, profile: Profile, *, score: str | None = None, observer: Observer | None = None
) -> Iterator[PreTrainedModel]:
    """Run an explicit profile inside a ``with`` block, for this thread alone.

    Parameters
    ----------
    profile : keep ratio of each layer
    score : a name in ``SCORES``; the dial's when left out
    observer : called with the scores of every layer of every pass
    """
    elimination = attached(model)
    if len(profile.keep) != len(elimination.default.profile.keep):
        raise ValueError(
            f"a profile of {len(profile.keep)} keep ratios for {len(elimination.default.profile.keep)} layers"
        )
    score = score or elimination.default.score
    if score not in SCORES:
        raise ValueError(f"score={score}: expected one of {', '.join(SCORES)}")
    setting = Setting(profile, score, observer)
    token = overrides.set({**overrides.get(), id(elimination): setting})
    try:
        yield model
    finally:
        overrides.reset(token)


def dial_of(model: PreTrainedModel) -> Dial:
    """The dial attached to a model.

    Raises
    ------
    ValueError
        if nothing is attached, or nothing but explicit profiles.
    """
    dial = attached(model).dial
    if dial is None:
        raise ValueError("this model has no dial: make one with `latadj calibrate`, or attach(model, dial)")
    return dial
