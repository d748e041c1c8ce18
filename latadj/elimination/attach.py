"""Puts elimination into a transformers model, and takes it out again without a trace."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of
from latadj.elimination.cost import READS
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
from latadj.elimination.forward_state import EliminationOptions, HiddenStateCache, ScoreObserver, SurvivorObserver
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.profiles import Dial, Profile
from latadj.elimination.scores import SCORES
from latadj.elimination.topk.setting import TopKAttention


def attach(
    model: PreTrainedModel,
    dial: Dial | None = None,
    *,
    speedup: float = 1.0,
    reads: str | None = None,
    hard: TopKAttention | None = None,
) -> PreTrainedModel:
    """Let a model eliminate tokens; attaching again replaces what was attached.

    Parameters
    ----------
    model : a transformers model of a supported architecture, with or without a head
    dial : speedup -> profile; without one the model can be observed and set to explicit profiles
    speedup : where the dial stands at first
    reads : ``pooled``, ``all`` or ``survivors``; found from the head's class when left out
    hard : to how many keys the queries of each layer attend. It belongs to the model: what was attached stays when
        left out, ``TopKAttention.soft(layers)`` takes it back

    Returns
    -------
    the same model

    Raises
    ------
    ValueError
        if the architecture is unknown, or the dial or ``hard`` is for another number of layers.
    """
    architecture = architecture_of(model)
    architecture.check(model)
    base = architecture.base(model)
    layers = architecture.layers(base)
    reads = reads or architecture.reads(model)
    if reads not in READS:
        raise ValueError(f"reads={reads}: expected one of {', '.join(READS)}")
    if dial is not None and dial.layers != len(layers):
        raise ValueError(f"this dial is for a model of {dial.layers} layers, the model has {len(layers)}: calibrate it")
    if dial is not None and dial.reads != reads:
        raise ValueError(
            f"this dial is for a head that reads {dial.reads} positions, {type(model).__name__} reads {reads}: "
            "calibrate this model"
        )
    if hard is None:
        hard = attached(model).hard if is_attached(model) else TopKAttention.soft(len(layers))
    _check_hard(hard, len(layers))
    profile = dial.profile(speedup) if dial else Profile.full(len(layers))
    manner = EliminationOptions(SCORES[dial.score], dial.window) if dial else EliminationOptions(SCORES["acc"])
    if is_attached(model):
        detach(model)
    setattr(base, MARK, Elimination(architecture, dial, reads, Setting(profile, manner), hard))
    override_forward(base, base_forward)
    for head, forward in architecture.heads(model):
        override_forward(head, forward(type(head).forward))
    for index, layer in enumerate(layers):
        setattr(layer, MARK, index)
        override_forward(layer, layer_forward)
    return model


def detach(model: PreTrainedModel) -> PreTrainedModel:
    """Undo :func:`attach`: the model computes what it computed before, bit by bit. Returns the same model."""
    architecture = attached(model).architecture
    base = architecture.base(model)
    for head, _ in architecture.heads(model):
        restore_forward(head)
    for module in (base, *architecture.layers(base)):
        restore_forward(module)
        delattr(module, MARK)
    return model


def as_plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model as transformers runs it, detached; where it has hard attention, which transformers lacks, at 1x."""
    if topk_attention_of(model) is None:
        return detach(model)
    return attach(model, reads=attached(model).reads)


def is_attached(model: PreTrainedModel) -> bool:
    """Whether elimination is attached to a model."""
    return _elimination(model) is not None


def attached(model: PreTrainedModel) -> Elimination:
    """What is attached to a model.

    Raises
    ------
    ValueError
        if nothing is.
    """
    elimination = _elimination(model)
    if elimination is None:
        raise ValueError("elimination is not attached to this model: call latadj.attach(model, dial) first")
    return elimination


def _elimination(model: PreTrainedModel) -> Elimination | None:
    try:
        base = architecture_of(model).base(model)
    except ValueError:  # of no architecture, so nothing can be attached
        return None
    found: Elimination | None = getattr(base, MARK, None)
    return found


def set_topk_attention(model: PreTrainedModel, hard: TopKAttention) -> None:
    """Let the queries of some layers attend to their strongest keys only, in every thread.

    Raises
    ------
    ValueError
        if nothing is attached, or ``hard`` is for another number of layers.
    """
    elimination = attached(model)
    _check_hard(hard, len(elimination.default.profile.keep))
    elimination.hard = hard


def topk_attention_of(model: PreTrainedModel) -> TopKAttention | None:
    """To how many keys the queries of each layer of an attached model attend; None if to all in every layer.

    Raises
    ------
    ValueError
        if nothing is attached.
    """
    hard = attached(model).hard
    return hard if hard.selects else None


def _check_hard(hard: TopKAttention, layers: int) -> None:
    if len(hard.layers) != layers:
        raise ValueError(f"hard attention for a model of {len(hard.layers)} layers, the model has {layers}")


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
    observer: ScoreObserver | None = None,
    witness: SurvivorObserver | None = None,
) -> Iterator[PreTrainedModel]:
    """Run an explicit profile inside a ``with`` block, for this thread alone.

    Parameters
    ----------
    profile : keep ratio of each layer
    score : a name in ``SCORES``; the dial's when left out
    window : who is asked and who is protected, in a decoder; the dial's when left out
    prompt : prompt tokens of each sequence of a decoder's batch, where a continuation follows in the same pass: it is
        never eliminated, and only the last prompt token and the continuation have an output
    observer : called with the scores of every layer of every pass
    witness : called with the survivors of every layer of every pass

    Tokens that :func:`protecting` names around the block are protected inside it.
    """
    elimination = attached(model)
    if len(profile.keep) != len(elimination.default.profile.keep):
        raise ValueError(
            f"a profile of {len(profile.keep)} keep ratios for {len(elimination.default.profile.keep)} layers"
        )
    if score is not None and score not in SCORES:
        raise ValueError(f"score={score}: expected one of {', '.join(SCORES)}")
    if prompt is not None and not elimination.architecture.causal:
        raise ValueError("prompt=: only a decoder has a continuation after its prompt")
    manner = elimination.default.manner
    manner = EliminationOptions(
        SCORES[score] if score else manner.score,
        window or manner.window,
        observer,
        witness,
        None if prompt is None else tuple(int(length) for length in prompt),
        elimination.setting().manner.protect,
    )
    with _setting(elimination, Setting(profile, manner)):
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
    elimination = attached(model)
    setting = elimination.setting()
    with _setting(elimination, replace(setting, manner=replace(setting.manner, protect=protect))):
        yield model


@contextmanager
def starting_at(model: PreTrainedModel, entry: HiddenStateCache) -> Iterator[PreTrainedModel]:
    """Note what enters a layer, or start a pass with what was noted, inside a ``with`` block, for this thread alone.

    For one batch without elimination, asked again after upper layers were changed.

    Parameters
    ----------
    entry : of this very batch

    Raises
    ------
    ValueError
        if nothing is attached, or the model eliminates.
    """
    elimination = attached(model)
    setting = elimination.setting()
    if setting.profile.eliminates:
        raise ValueError("a pass that eliminates starts with the first layer: who is alive is decided on its way")
    with _setting(elimination, replace(setting, manner=replace(setting.manner, entry=entry))):
        yield model


@contextmanager
def _setting(elimination: Elimination, setting: Setting) -> Iterator[None]:
    token = overrides.set({**overrides.get(), id(elimination): setting})
    try:
        yield
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
