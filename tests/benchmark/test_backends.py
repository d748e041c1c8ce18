import numpy as np
import pytest
import torch
from conftest import batch_of, tiny_bert
from torch._dynamo.utils import counters

from latadj.benchmark import backends
from latadj.benchmark.backends import BACKENDS, build, missing

# Largest deviation, and least correlation; ranges that were measured beforehand fit no text exactly.
LOOSE = {"sdpa_bf16": (0.1, 0.99), "onnxruntime_int8": (0.1, 0.99), "openvino_int8": (0.3, 0.95)}


def batch(*lengths, inputs=backends.INPUTS):
    found = {name: tensor for name, tensor in batch_of(list(lengths)).items() if name in inputs}
    if "token_type_ids" in inputs:
        found["token_type_ids"] = (torch.arange(max(lengths)) >= 3).long().expand(len(lengths), -1).contiguous()
    return found


def plain(model, inputs):
    with torch.inference_mode():
        return model(**inputs).logits.numpy()


@pytest.fixture(scope="module")
def model():
    return tiny_bert(layers=1)  # exporting and compiling each takes its time


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return tmp_path_factory.mktemp("backends")


def need(name):
    for module in BACKENDS[name].modules:
        pytest.importorskip(module)
    if reason := missing(name):
        pytest.skip(reason)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_peer_agrees_with_the_plain_model(name, model, exported):
    need(name)
    before = plain(model, batch(5, 9))
    forward = build(name, model, exported, 1)
    counters.clear()
    padded, single = (5, 12, 9, 3), (7,)
    for lengths in [padded] if BACKENDS[name].compiles else [padded, single]:  # another graph takes its time
        expected, found = plain(model, batch(*lengths)), np.asarray(forward(batch(*lengths)))
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        if name in LOOSE:
            most, least = LOOSE[name]
            assert np.abs(found - expected).max() < most * np.abs(expected).max()
            assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > least
        else:
            assert np.abs(found - expected).max() < 1e-4
    assert np.array_equal(plain(model, batch(5, 9)), before)  # left as it was
    if BACKENDS[name].compiles and torch.backends.mkldnn.is_available():
        packed = counters["inductor"]["mkldnn_linear_weight_pack_matcher_count"]
        assert packed == sum(isinstance(module, torch.nn.Linear) for module in model.modules())


@pytest.mark.parametrize("name", ["sdpa_fp32", "onnxruntime_fp32"])
def test_segments_are_fed_where_batches_have_them(name, model, exported):
    need(name)
    inputs = (*backends.INPUTS, "token_type_ids")
    forward = build(name, model, exported, 1, inputs=inputs)
    given = batch(9, 6, inputs=inputs)
    assert np.abs(np.asarray(forward(given)) - plain(model, given)).max() < 1e-4
    assert np.abs(np.asarray(forward(given)) - plain(model, batch(9, 6))).max() > 1e-3
    with pytest.raises(ValueError, match="built for input_ids, attention_mask, token_type_ids"):
        forward(batch(9, 6))


def test_runtimes_share_one_export_and_never_anothers(model, exported):
    need("onnxruntime_int8")
    build("onnxruntime_fp32", model, exported, 1)
    first = {path: path.stat().st_mtime_ns for path in exported.glob("fp32-*/*")}
    build("onnxruntime_int8", model, exported, 1)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    other = tiny_bert(layers=1)
    with torch.no_grad():
        other.classifier.bias += 1
    found = build("onnxruntime_fp32", other, exported, 1)(batch(9, 4))
    assert np.abs(found - plain(model, batch(9, 4)) - 1).max() < 1e-4


def test_sdpa_is_what_runs_whatever_the_model_came_with():
    eager = tiny_bert(layers=2, attn_implementation="eager")
    assert eager.config._attn_implementation == "eager"
    twin = backends.with_attention(eager, "sdpa")
    assert twin.config._attn_implementation == "sdpa"
    assert eager.config._attn_implementation == "eager"
    assert twin.classifier.weight is eager.classifier.weight


def test_what_is_missing_is_said(monkeypatch, model, tmp_path):
    monkeypatch.setattr(backends, "find_spec", lambda module: None)
    assert missing("sdpa_fp32") is None
    assert missing("openvino_fp32") == "openvino_fp32 needs onnx, onnxscript, openvino: pip install 'latadj[backends]'"
    with pytest.raises(ValueError, match="pip install"):
        build("openvino_fp32", model, tmp_path, 1)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "C++ compiler" in missing("torch_compile_fp32")
    with pytest.raises(ValueError, match="backend 'tflite': expected one of sdpa_fp32"):
        missing("tflite")


def test_a_model_or_thread_count_that_would_not_compare_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="threads=3: torch uses 1"):
        build("sdpa_fp32", model, tmp_path, 3)
    with pytest.raises(ValueError, match=r"torch\.bfloat16 on cpu"):
        build("sdpa_fp32", tiny_bert(layers=2).to(torch.bfloat16), tmp_path, 1)
