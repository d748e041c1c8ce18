"""OpenVINO's models of several widths keep their answers over one file of weights."""

import copy
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.narrowed_reference import level_of
from helpers.tiny_models import tiny

pytest.importorskip("openvino")
pytest.importorskip("nncf")
pytest.importorskip("onnxscript")

from latadj.elimination.architectures import architecture_of
from latadj.export.functions import FASTEST
from latadj.export.onnx_file import graph_of
from latadj.export.openvino_files import write_openvino
from latadj.export.openvino_weights import share_weights
from latadj.export.score_functions import SUMS
from latadj.pruning.subnetwork import cut_to_level
from latadj.runtime.sessions import openvino_session

INPUTS = ("input_ids", "attention_mask")
LAYERS = 3
# Of the whole model, and of two levels.
NAMES = ("openvino_model.xml", "level-1.xml", "level-2.xml")
SHARES = ([1.0] * LAYERS, [0.75, 0.5, 0.5], [0.5, 0.25, 0.5])


@pytest.fixture(scope="module")
def graphs():
    model = tiny("bert", layers=LAYERS, hidden_size=64, intermediate_size=128)
    found = []
    for shares in SHARES:
        narrow, kept = copy.deepcopy(model), list(range(LAYERS))
        if min(shares) < 1:
            kept = cut_to_level(narrow, level_of(model, shares))
        found.append(
            graph_of(
                narrow,
                reads=architecture_of(model).reads(model),
                score="acc",
                inputs=INPUTS,
                outputs=["logits"],
                kept=kept,
                layers=LAYERS,
                profile=None,
                opset=FASTEST["openvino"],
                cuts=[0, 1],
            )
        )
    return found


def feeds(keep=(0.8, 0.5, 0.5), seed=0):
    batch, length = 4, 12
    lengths = np.arange(length, length - batch, -1)
    return {
        "input_ids": np.random.default_rng(seed).integers(5, 100, (batch, length)),
        "attention_mask": (np.arange(length) < lengths[:, None]).astype(np.int64),
        "leaving": np.ceil(np.array(keep)[:, None] * lengths).astype(np.int64),
    }


@pytest.fixture(scope="module", params=["fp32", "int8"])
def written(request, graphs, tmp_path_factory):
    """A folder where each model has its own weights, one where they share them, and the precision."""
    own, shared = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("shared")
    ranges = [feeds(seed=seed) for seed in range(8)] if request.param == "int8" else None
    for name, graph in zip(NAMES, graphs, strict=True):
        write_openvino(copy.deepcopy(graph), own / name, ranges, alone=False)
    share_weights([own / name for name in NAMES], shared)
    return own, shared, request.param


def test_answers_are_those_of_models_with_weights_of_their_own(written):
    own, shared, precision = written
    # A narrower level in int8 rounds as the whole model does, so that other tokens may survive where some go.
    given = feeds() if precision == "fp32" else feeds(keep=(1, 1, 1))
    for name in NAMES:
        (mine,), (theirs,) = (openvino_session(one / name, 1).run(["logits"], given) for one in (own, shared))
        exact = precision == "fp32" or name == NAMES[0]
        assert np.abs(mine - theirs).max() < (1e-5 if exact else 0.1) * np.abs(mine).max(), name


def test_there_is_one_file_of_weights_and_it_is_hardly_larger_than_the_whole_models(written):
    own, shared, _ = written
    files = {path.name for path in shared.iterdir()}
    assert files == {*NAMES, "openvino_model.bin"}
    alone, all_own = ((own / name).with_suffix(".bin").stat().st_size for name in (NAMES[0], NAMES[1]))
    # Of a tiny model what is no matrix weighs much.
    assert (shared / "openvino_model.bin").stat().st_size < alone + 0.4 * all_own


def test_what_is_summed_up_for_scores_is_not_quantized(written):
    _, shared, precision = written
    tree = ElementTree.parse(shared / NAMES[1])
    layers = {layer.get("id"): layer for layer in tree.iterfind(".//layer")}
    into = {(edge.get("to-layer"), edge.get("to-port")): edge.get("from-layer") for edge in tree.iterfind(".//edge")}
    sums = [one for one in layers.values() if one.get("type") == "MatMul" and one.get("name").startswith(SUMS)]
    assert len(sums) == 2
    for one in sums:
        assert all(layers[into[one.get("id"), port]].get("type") != "FakeQuantize" for port in ("0", "1"))
    assert any(one.get("type") == "FakeQuantize" for one in layers.values()) == (precision == "int8")
