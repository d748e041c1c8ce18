"""Graphs as OpenVINO's own files, in fp32, or in int8 by NNCF with ranges measured on texts."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from transformers import PreTrainedTokenizerBase

from latadj.benchmark.peer_graphs import openvino_int8
from latadj.elimination.dial import Dial
from latadj.elimination.dial_solver import settings_of
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.export.score_functions import SUMS
from latadj.runtime.manifest import LEAVING, layers_that_cut
from latadj.utils.quiet import quiet

# What a graph sums up for its scores, where rounding costs more time than it saves.
IN_FP32 = f"{SUMS}.*"
# Texts of a batch over which ranges are measured, and how many batches, at most.
BATCH, BATCHES = 8, 32
# Speedups from 1 to the dial's largest whose profiles stand for all that a graph runs.
SPEEDUPS = 33


@dataclass(frozen=True)
class CountedGraph:
    """A graph that is told how many tokens leave each layer.

    level : how wide its layers are; None: whole
    cuts : numbers of the layers that let tokens go
    profiles : some that it runs, from one that keeps many tokens to one that keeps few
    """

    level: Level | None
    cuts: tuple[int, ...]
    profiles: tuple[Profile, ...]


def counted_graphs(dial: Dial) -> list[CountedGraph]:
    """The graphs that run a dial without a branch in them, the whole model's first.

    One for each level, since it scores tokens in every layer that may let some go, and of the whole model one more,
    which lets none go.
    """
    full, *profiles = settings_of(dial)
    by_level: dict[Level | None, list[Profile]] = {}
    for profile in profiles:
        by_level.setdefault(profile.level, []).append(profile)
    found, asked = [CountedGraph(None, (), (full,))], _asked(dial)
    for level, own in by_level.items():
        cuts = sorted({layer for one in own for layer in layers_that_cut(one, dial)})
        if cuts or level is not None:
            # Up to its weakest and strongest a level has settings that no speedup comes to, down to a single token.
            runs = [one for one in asked if one.level == level and layers_that_cut(one, dial)]
            found.append(CountedGraph(level, tuple(cuts), tuple(runs or own[:1])))
    return found


def _asked(dial: Dial) -> list[Profile]:
    """The profiles of speedups from 1 to the largest, each a little larger than the one before."""
    return list(dict.fromkeys(dial.profile(float(one)) for one in np.geomspace(1.0, dial.reach(), SPEEDUPS)))


def calibration_batches(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    inputs: Sequence[str],
    limit: int,
    profiles: Sequence[Profile],
) -> list[dict[str, np.ndarray]]:
    """A graph's inputs for some texts.

    Parameters
    ----------
    inputs : names of the token inputs
    limit : tokens of a text
    profiles : say how many tokens leave each layer, of the batches in turn; none: that is no input
    """
    batches: list[dict[str, np.ndarray]] = []
    for start in range(0, min(len(texts), BATCH * BATCHES), BATCH):
        encoded = tokenizer(
            list(texts[start : start + BATCH]), truncation=True, max_length=limit, padding=True, return_tensors="np"
        )
        feeds = {name: np.asarray(encoded[name], dtype=np.int64) for name in inputs}
        if profiles:
            profile = replace(profiles[len(batches) % len(profiles)], whole_length=0.0)
            feeds[LEAVING] = profile.counts(feeds["attention_mask"].sum(axis=1))
        batches.append(feeds)
    return batches


def write_openvino(
    graph: onnx.ModelProto, path: Path, batches: Sequence[dict[str, np.ndarray]] | None, *, alone: bool
) -> None:
    """Write a graph as OpenVINO's ``.xml``, and its weights beside it.

    Parameters
    ----------
    batches : over which NNCF measures ranges, for int8; None: fp32
    alone : whether no other graph is to share its weights
    """
    import openvino

    with tempfile.TemporaryDirectory() as folder, quiet():
        source = Path(folder) / "model.onnx"
        onnx.save(graph, source, save_as_external_data=True, location="model.data")
        model = openvino.convert_model(source)
        if batches is not None:
            # Smoothing moves ranges from activations into weights, of each level by its own activations.
            model = openvino_int8(model, batches, smooth=alone, in_fp32=IN_FP32)
        openvino.save_model(model, path, compress_to_fp16=False)
