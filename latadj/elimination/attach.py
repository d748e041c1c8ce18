"""Puts elimination into a transformers model, and takes it out again without a trace."""

from typing import TypeVar

from torch import nn
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of
from latadj.elimination.architectures.base import MARK, is_of_transformers
from latadj.elimination.base_forward import base_forward
from latadj.elimination.cost import ALL, READS
from latadj.elimination.dial import Dial
from latadj.elimination.layer_forward import layer_forward
from latadj.elimination.narrowing import check_level
from latadj.elimination.notices import warn_once
from latadj.elimination.observation_window import WHOLE
from latadj.elimination.pair_frame import PairFrame
from latadj.elimination.patching import (
    Elimination,
    EliminationOptions,
    elimination_of,
    is_overridden,
    override,
    restore,
)
from latadj.elimination.profiles import Profile
from latadj.elimination.saving import save_pretrained
from latadj.elimination.scores import SCORES
from latadj.elimination.sentence_transformer import (
    is_cross_encoder,
    is_sentence_transformer,
    pipeline_of,
    reads_of,
    transformer_of,
)
from latadj.elimination.topk_setting import TopKAttention

Model = TypeVar("Model", bound=nn.Module)


def attach(
    model: Model,
    dial: Dial | None = None,
    *,
    speedup: float = 1.0,
    reads: str | None = None,
    topk: TopKAttention | None = None,
) -> Model:
    """Let a model eliminate tokens; attaching again replaces what was attached.

    Parameters
    ----------
    model : a transformers model of a supported architecture, with or without a head, or a ``SentenceTransformer`` or
        ``CrossEncoder`` of one, whose dial never eliminates the query if it was made so
    dial : speedup -> profile; without one the model can be observed and set to explicit profiles
    speedup : where the dial stands at first
    reads : ``pooled``, ``all`` or ``survivors``; found from the head's class, or the pooling, when left out
    topk : to how many keys the queries of each layer attend. It belongs to the model: what was attached stays when
        left out, ``TopKAttention.full(layers)`` takes it back

    Returns
    -------
    the same model

    Raises
    ------
    ValueError
        if the architecture or the pooling is unknown, or the dial or ``topk`` is for another number of layers.
    """
    inner = transformer_of(model)
    pipeline = model if is_sentence_transformer(model) else pipeline_of(inner)
    if reads is None and pipeline is not None:
        reads = reads_of(pipeline, causal=architecture_of(inner).causal)
    if inner is not model:
        pair = pair_frame_of(model, dial)
        attach(inner, dial, speedup=speedup, reads=reads, topk=topk)
        attached(inner).pair = pair
        return model
    architecture = architecture_of(model)
    architecture.check(model)
    base = architecture.base(model)
    layers = architecture.layers(base)
    named, reads = reads is not None, reads or architecture.reads(model)
    if reads not in READS:
        raise ValueError(f"reads={reads}: expected one of {', '.join(READS)}")
    if dial is not None and dial.layers != len(layers):
        raise ValueError(f"this dial is for a model of {dial.layers} layers, the model has {len(layers)}: calibrate it")
    if dial is not None and dial.reads != reads:
        raise ValueError(
            f"this dial is for a head that reads {dial.reads} positions, {type(model).__name__} reads {reads}: "
            "calibrate this model"
        )
    for level in dial.levels[:1] if dial else ():  # which contains the others
        check_level(model, level)
    if topk is None:
        topk = attached(model).topk if is_attached(model) else TopKAttention.full(len(layers))
    _check_topk(topk, len(layers))
    if dial is not None and reads == ALL and not named and not _has_known_head(model):
        warn_once(
            f"{type(model).__name__} has no head that latadj knows, so every position may be read, and eliminated "
            "tokens have the state in which they were eliminated: a mean over them loses quality. If only the first "
            "position is read, calibrate and attach with reads='pooled'; else measure, and name reads='all'"
        )
    profile = dial.profile(speedup) if dial else Profile.full(len(layers))
    score, window = (dial.score, dial.window) if dial else ("acc", WHOLE)
    options = EliminationOptions(profile, SCORES[score], window)
    origin = pair = None
    if is_attached(model):
        origin, pair = attached(model).origin, attached(model).pair
        detach(model)
    if dial is not None and not dial.protected:
        pair = None  # this dial's speedups hold where everything may be eliminated
    heads = list(architecture.heads(model, reads))
    setattr(base, MARK, Elimination(architecture, dial, reads, bool(heads), options, topk, pair, origin))
    override(base, "forward", base_forward)
    override(model, "save_pretrained", save_pretrained)
    for head, name, function in heads:
        override(head, name, function)
    for layer in dict.fromkeys(layers):
        places = [index for index, other in enumerate(layers) if other is layer]
        setattr(layer, MARK, places[0] if len(places) == 1 else None)
        override(layer, "forward", layer_forward)
    return model


def pair_frame_of(model: object, dial: Dial | None) -> PairFrame | None:
    """What tells a ``CrossEncoder``'s query from its document; None where nothing is protected, and of other models.

    Raises
    ------
    ValueError
        if the dial protects the query and its tokenizer does not tell where that ends.
    """
    if not is_cross_encoder(model) or (dial is not None and not dial.protected):
        return None
    try:
        return PairFrame.of(model.tokenizer)  # type: ignore[attr-defined]  # of sentence-transformers
    except ValueError:
        if dial is None:
            return None
        raise


def _has_known_head(model: PreTrainedModel) -> bool:
    name = type(model).__name__
    return is_of_transformers(model) and ("For" in name or name.endswith(("HeadModel", "HeadsModel")))


def detach(model: Model) -> Model:
    """Undo :func:`attach`: the model computes what it computed before, bit by bit. Returns the same model.

    Raises
    ------
    ValueError
        if nothing is attached, or it was attached through another model with the same base.
    """
    elimination, inner = attached(model), transformer_of(model)
    if not is_overridden(inner, "save_pretrained"):
        raise ValueError(
            f"elimination was attached through another model that has the same base as this {type(inner).__name__}: "
            "detach that one first"
        )
    architecture = elimination.architecture
    base = architecture.base(inner)
    for head, name, _ in architecture.heads(inner, elimination.reads):
        restore(head, name)
    restore(inner, "save_pretrained")
    for module in (base, *dict.fromkeys(architecture.layers(base))):
        restore(module, "forward")
        delattr(module, MARK)
    return model


def as_plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model as transformers runs it, detached; where it has top-k attention, which transformers lacks, at 1x."""
    if topk_attention_of(model) is None:
        return detach(model)
    return attach(model, reads=attached(model).reads)


def is_attached(model: PreTrainedModel) -> bool:
    """Whether elimination is attached to a model."""
    return elimination_of(model) is not None


def attached(model: PreTrainedModel) -> Elimination:
    """What is attached to a model.

    Raises
    ------
    ValueError
        if nothing is.
    """
    elimination = elimination_of(model)
    if elimination is None:
        raise ValueError("elimination is not attached to this model: call latadj.attach(model, dial) first")
    return elimination


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


def set_topk_attention(model: PreTrainedModel, topk: TopKAttention) -> None:
    """Let the queries of some layers attend to their top-k keys only, in every thread.

    Raises
    ------
    ValueError
        if nothing is attached, or ``topk`` is for another number of layers.
    """
    elimination = attached(model)
    _check_topk(topk, len(elimination.default.profile.keep))
    elimination.topk = topk


def topk_attention_of(model: PreTrainedModel) -> TopKAttention | None:
    """To how many keys the queries of each layer of an attached model attend; None if to all in every layer.

    Raises
    ------
    ValueError
        if nothing is attached.
    """
    topk = attached(model).topk
    return topk if topk.selects else None


def _check_topk(topk: TopKAttention, layers: int) -> None:
    if len(topk.layers) != layers:
        raise ValueError(f"top-k attention for a model of {len(topk.layers)} layers, the model has {layers}")
