"""Takes one setting of a dial away: the sub-network that runs there, as a smaller model of its own."""

import copy
from dataclasses import replace

from transformers import PreTrainedModel

from latadj.checkpoints.attached_model import metadata_of
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.elimination.architectures import layer_shapes, layers_of
from latadj.elimination.architectures.layer_parts import registered_parts
from latadj.elimination.attach import attach, attached, detach, dial_of
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Anchor, Profile
from latadj.elimination.sentence_transformer import is_sentence_transformer, pipeline_of
from latadj.pruning.subnetwork import cut_to_level


def extract(model: PreTrainedModel, speedup: float) -> PreTrainedModel:
    """The sub-network that a model runs at a speedup of its dial, as a new and smaller model.

    It computes what the model computes at that speedup: heads, neurons and layers that are left out there are not in
    its weights, and the same tokens are eliminated. Texts of up to ``whole_length`` tokens, see
    :class:`~latadj.elimination.profiles.Profile`, are the exception: the model reads them whole, and the sub-network as
    it reads all others. Its own dial is in FLOPs over itself. It goes from 1, where the sub-network reads all tokens,
    to ``dial.reach()``, where it eliminates as the model did; there it stands at first.

    Parameters
    ----------
    model : with a dial, in full precision; it stays as it is
    speedup : on the model's dial, in the unit that the dial is marked in

    Returns
    -------
    a model of the same class. ``latadj.save`` saves it with its dial and its pruning map

    Raises
    ------
    ValueError
        if the model has no dial, the speedup is off it, or the model was lowered for serving.
    """
    if is_sentence_transformer(model) or pipeline_of(model) is not None:
        raise ValueError(
            "extract: sentence-transformers loads whole models only: turn the dial with `latadj.set_speedup` instead"
        )
    dial = dial_of(model)
    if any(registered_parts(layer) is not None for layer in layers_of(model)):
        raise ValueError(
            "extract: this model was lowered for serving and holds no weights to take away: load it with precision=None"
        )
    profile, elimination, saved = dial.profile(speedup), attached(model), metadata_of(model)
    # The copy has no views of the model's weights: what is cut off takes no memory.
    small = detach(copy.deepcopy(model))
    kept = list(range(dial.layers)) if profile.level is None else cut_to_level(small, profile.level)
    own = _dial_of_one_profile(saved.dial or dial, small, profile, kept)
    topk = replace(elimination.topk, layers=tuple(elimination.topk.layers[number] for number in kept))
    attach(small, own, speedup=own.reach(), reads=elimination.reads, topk=topk)
    attached(small).pair = elimination.pair
    notes = {**saved.notes, "extracted": {"speedup": float(speedup), "target": dial.target}}
    # What was measured on devices is of the whole model.
    attached(small).origin = CheckpointMetadata(saved.task, own, notes, task_spec=saved.task_spec)
    return small


def _dial_of_one_profile(dial: Dial, model: PreTrainedModel, profile: Profile, kept: list[int]) -> Dial:
    """A dial in FLOPs that ends at a profile of another dial, of which some layers are left.

    Parameters
    ----------
    model : the sub-network
    kept : numbers of its layers in the model that the profile is of
    """
    keep = tuple(profile.keep[number] for number in kept)
    shapes, layer_acc = layer_shapes(model), tuple(dial.layer_acc[number] for number in kept)
    dial = replace(
        dial,
        shapes=shapes,
        layer_acc=layer_acc,
        anchors=(),
        profile_type="acc",
        every=1,
        widths=(),
        drops=(),  # they are of the whole model's profiles
        latency=None,
    )
    end = max(dial.speedup_of(Profile(keep, profile.short_length)), 1.0)
    return replace(
        dial,
        profile_type="searched",
        anchors=(Anchor(end, keep, profile.short_length),),
        max_flops=end,
        max_speedup=max(dial.max_speedup, end),
    )
