"""Graphs with the dial as an input compute what PyTorch computes at the same profile."""

import collections
import copy
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.tiny_models import batch_of, dial_for, tiny

from latadj.elimination.architectures import architecture_of
from latadj.elimination.attach import attach, attached, detach, is_attached
from latadj.elimination.current_setting import at_profile
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.export.folder import check_exportable
from latadj.export.int8_graphs import quantized
from latadj.export.onnx_file import graph_of
from latadj.export.score_functions import SCORES
from latadj.export.shared_weights import write_graphs
from latadj.pruning.subnetwork import cut_to_level

INPUTS = ("input_ids", "attention_mask")
# Texts of unlike length, one alone, texts of one token, and texts of one length.
BATCHES = ([17, 9, 23, 4], [7], [1, 1, 1], [12, 12])
PROFILES = (
    Profile((1.0, 1.0, 1.0)),
    Profile((0.9, 0.6, 0.4)),
    Profile((0.7, 0.7, 0.1), short_length=5.5),
    Profile((1.0, 0.3, 0.3), short_length=12.0),
)


def graph(model, *, profile=None, opset=23, kept=range(3), outputs=("logits",), score="acc"):
    return graph_of(
        model,
        reads=architecture_of(model).reads(model),
        score=score,
        inputs=INPUTS,
        outputs=list(outputs),
        kept=kept,
        layers=3,
        profile=profile,
        opset=opset,
    )


def session(proto):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session, batch, profile=None):
    feeds = {name: batch[name].numpy() for name in INPUTS}
    if profile is not None:
        feeds |= {"keep": np.array(profile.keep), "short_length": np.array(profile.short_length)}
    return session.run(None, feeds)[0]


def expected(model, batch, profile, score="acc"):
    with torch.no_grad(), at_profile(model, profile, score=score):
        return model(**{name: batch[name] for name in INPUTS}).logits.numpy()


@pytest.fixture(scope="module")
def classifier():
    return tiny("bert", layers=3)


@pytest.fixture(scope="module")
def classifier_graph(classifier):
    return graph(classifier)


def test_a_classifier_follows_the_keep_rule_at_any_profile(classifier, classifier_graph):
    runs = session(classifier_graph)
    attached_model = attach(classifier)
    for lengths in BATCHES:
        batch = batch_of(lengths)
        for profile in PROFILES:
            made = run(runs, batch, profile)
            assert np.allclose(made, expected(attached_model, batch, profile), atol=1e-4), (lengths, profile)


@pytest.mark.parametrize("opset", [21, 23])
@pytest.mark.parametrize("score", SCORES)
def test_a_graph_ranks_tokens_by_the_score_of_its_dial(classifier, score, opset):
    runs = session(graph(classifier, opset=opset, score=score))
    model = attach(classifier)
    for lengths in BATCHES:
        batch = batch_of(lengths)
        for profile in PROFILES[1:3]:
            found = run(runs, batch, profile)
            assert np.allclose(found, expected(model, batch, profile, score), atol=1e-4), (lengths, profile)


@pytest.mark.parametrize("model_type", ["roberta", "electra"])
def test_a_classifier_of_another_architecture_follows_the_keep_rule(model_type):
    model = tiny(model_type, layers=3)
    runs = session(graph(model))
    attach(model)
    for lengths in BATCHES[:3]:
        batch = batch_of(lengths)
        for profile in PROFILES[1:3]:
            assert np.allclose(run(runs, batch, profile), expected(model, batch, profile), atol=1e-4), (
                lengths,
                profile,
            )


def test_a_reader_has_the_scores_of_starts_and_ends_at_every_token():
    model = tiny("bert", "reader", layers=3, num_labels=2)
    runs = session(graph(model, outputs=("start_logits", "end_logits")))
    attach(model)
    for lengths in BATCHES[:2]:
        batch = batch_of(lengths)
        real = batch["attention_mask"].bool().numpy()
        feeds = {name: batch[name].numpy() for name in INPUTS}
        for profile in PROFILES[1:3]:
            feeds |= {"keep": np.array(profile.keep), "short_length": np.array(profile.short_length)}
            with torch.no_grad(), at_profile(model, profile):
                found = model(**{name: batch[name] for name in INPUTS})
            for made, logits in zip(runs.run(None, feeds), (found.start_logits, found.end_logits), strict=True):
                assert np.allclose(made[real], logits.numpy()[real], atol=1e-4), (lengths, profile)


def test_a_tagger_puts_eliminated_tokens_back_with_attention_by_products():
    model = tiny("distilbert", "tagger", layers=3)
    runs = session(graph(model, opset=21))
    attach(model)
    for lengths in BATCHES:
        batch = batch_of(lengths)
        real = batch["attention_mask"].bool().numpy()
        for profile in PROFILES:
            made = run(runs, batch, profile)
            assert np.allclose(made[real], expected(model, batch, profile)[real], atol=1e-4), (lengths, profile)


def test_a_fixed_profile_has_no_inputs_but_tokens_and_asks_no_question(classifier):
    profile = replace(PROFILES[2], whole_length=5.0)
    proto = graph(classifier, profile=profile)
    assert [one.name for one in proto.graph.input] == list(INPUTS)
    assert not any(node.op_type == "If" for node in proto.graph.node)
    casts = (attribute.i for node in proto.graph.node if node.op_type == "Cast" for attribute in node.attribute)
    assert onnx.TensorProto.DOUBLE not in casts, "browsers have no float64"
    runs = session(proto)
    for lengths in BATCHES:
        batch = batch_of(lengths)
        assert np.allclose(run(runs, batch), expected(attach(classifier), batch, profile), atol=1e-4)


@pytest.mark.parametrize("score", ["acc", "lead_biased_acc"])
def test_openvino_computes_a_fixed_profile_too(classifier, score, tmp_path):
    openvino = pytest.importorskip("openvino")
    onnx.save(graph(classifier, profile=PROFILES[2], score=score), tmp_path / "model.onnx")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(tmp_path / "model.onnx", "CPU", settings)
    for lengths in BATCHES:
        batch = batch_of(lengths)
        (made,) = compiled({name: batch[name].numpy() for name in INPUTS}).values()
        assert np.allclose(made, expected(attach(classifier), batch, PROFILES[2], score), atol=1e-4), lengths


def test_layers_that_lose_nobody_have_attention_as_one_operator_and_no_chains(classifier_graph):
    nodes = collections.Counter(node.op_type for node in classifier_graph.graph.node)
    branches = [
        attribute.g
        for node in classifier_graph.graph.node
        if node.op_type == "If"
        for attribute in node.attribute
        if attribute.name == "else_branch"
    ]
    # The last layer, of which one position is read, asks nobody; the others do.
    assert (nodes["Attention"], len(branches)) == (1, 2)
    for branch in branches:
        (attention,) = (node for node in branch.node if node.op_type == "Attention")
        assert len(attention.output) == 1
        assert not any(node.op_type in ("Softmax", "TopK", "GatherND") for node in branch.node)
    assert nodes["Expand"] <= 2
    assert all(one.version >= 21 for one in classifier_graph.opset_import if not one.domain)
    assert {one.domain for one in classifier_graph.opset_import} <= {"", "ai.onnx"}
    assert not classifier_graph.functions


def test_no_index_is_negative(classifier_graph):
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in classifier_graph.graph.initializer}
    for node in classifier_graph.graph.node:
        if node.op_type in ("Gather", "GatherND", "GatherElements") and node.input[1] in constants:
            assert constants[node.input[1]].min() >= 0


LEVEL = Level((2, 0, 3), (48, 0, 0))


@pytest.fixture
def plain(classifier):
    plain = copy.deepcopy(classifier)
    return detach(plain) if is_attached(plain) else plain


def graph_at_level(plain):
    narrow = copy.deepcopy(plain)
    kept = cut_to_level(narrow, LEVEL)
    return graph(narrow, kept=kept)


def at_levels(plain, folder, batches):
    """Logits of the graphs that a folder holds, those of PyTorch, and of what."""
    model = attach(plain)
    for name, level in (("model.onnx", None), ("level-1.onnx", LEVEL)):
        runs = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        for lengths in batches:
            batch, profile = batch_of(lengths), replace(PROFILES[1], level=level)
            yield run(runs, batch, profile), expected(model, batch, profile), (name, lengths)


def test_levels_share_the_weights_of_one_file_and_leave_blocks_out(plain, classifier_graph, tmp_path):
    wide, small = onnx.ModelProto(), graph_at_level(plain)
    wide.CopyFrom(classifier_graph)
    size = wide.ByteSize()
    write_graphs({"model.onnx": wide, "level-1.onnx": small}, tmp_path, "weights")
    assert (tmp_path / "weights").stat().st_size < 1.3 * size + 4096 * len(wide.graph.initializer)
    shared = {entry.value for one in small.graph.initializer for entry in one.external_data if entry.key == "offset"}
    offsets = {entry.value for one in wide.graph.initializer for entry in one.external_data if entry.key == "offset"}
    assert shared <= offsets
    for made, logits, where in at_levels(plain, tmp_path, BATCHES[:2]):
        assert np.allclose(made, logits, atol=1e-4), where


def test_int8_levels_are_parts_of_the_whole_models_weights_and_keep_its_answers(plain, classifier_graph, tmp_path):
    graphs = quantized({"model.onnx": classifier_graph, "level-1.onnx": graph_at_level(plain)})
    maps = collections.Counter(node.op_type for node in graphs["model.onnx"].graph.node)["MatMulInteger"]
    # Six of each layer, and two of the head.
    assert maps == 6 * 3 + 2
    wide, small = (
        [onnx.numpy_helper.to_array(one) for one in each.graph.initializer if one.name.endswith("_quantized")]
        for each in graphs.values()
    )
    for part in small:
        assert any(np.array_equal(one[: len(part), : part.shape[1]], part) for one in wide)
    write_graphs(graphs, tmp_path, "weights")
    for made, logits, where in at_levels(plain, tmp_path, BATCHES):
        assert np.abs(made - logits).max() < 0.3 * np.abs(logits).max(), where


def refused(model, text, opset=23, **options):
    model = attach(model, dial_for(model, **options))
    with pytest.raises(ValueError, match=text):
        check_exportable(model, attached(model).dial, opset)


def test_what_no_graph_can_be_is_refused_by_name():
    refused(tiny("gpt2", layers=2), "GPT2ForSequenceClassification cannot be exported.*gpt2.*encoders only")
    refused(tiny("bert", "language", layers=2), "BertForMaskedLM cannot be exported: graphs are made of classifiers")
    refused(tiny("bert", layers=2), "score=random cannot be exported: expected one of acc, attention", score="random")
    refused(tiny("bert", layers=2), "this dial protects the question", protected=3)
    refused(tiny("bert", layers=2), "opset=20: expected one of 21, 22, 23", opset=20)


def test_positions_that_graphs_do_not_have_are_refused_by_name():
    model = tiny("modernbert")
    dial = dial_for(model)
    attach(model, dial)
    with pytest.raises(ValueError, match="layers are those of a modernbert, and graphs are made of some encoders only"):
        check_exportable(model, dial, 21)
