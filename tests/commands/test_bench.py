"""`latadj bench` on a tiny shape, through the real command line."""

import csv
import json

import pytest
import torch
from typer.testing import CliRunner

import latadj.commands.bench
from latadj.benchmark import backends
from latadj.benchmark.kernel_selection import kernels
from latadj.cli import app
from latadj.devices.affinity import affinity
from latadj.kernels.linear import KernelSpec
from latadj.reporting.results.bench import Bench

SHAPE = (
    "++model.shape={model_type: bert, hidden_size: 32, num_hidden_layers: 3, num_attention_heads: 4, "
    "intermediate_size: 64, vocab_size: 100, max_position_embeddings: 64}"
)
TINY = [
    SHAPE,
    *("device.name=cpu", "device.threads=1", "precisions=[fp32]", "backends=[sdpa_fp32]"),
    *("batch=[1,2]", "length=[8,16]", "speedup=[1,1.05,1000]"),
    *("clock.rounds=2", "measure.repeats=4", "measure.warmup=1"),
]


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False)


def refused(*arguments):
    found = run(*arguments)
    assert found.exit_code == 2, found.output
    assert found.stderr.count("\n") == 1, found.stderr
    return found.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "out"
    found = run(*TINY, f"folder={folder}")
    assert found.exit_code == 0, found.output
    return folder


@pytest.fixture(scope="module")
def bench(folder):
    return json.loads((folder / "bench.json").read_text())


def test_there_is_a_cell_for_each_shape(bench):
    assert bench["schema"] == "latadj.bench/2"
    assert [(cell["batch"], cell["length"]) for cell in bench["cells"]] == [(1, 8), (1, 16), (2, 8), (2, 16)]


def test_every_cell_holds_what_the_schema_promises(bench):
    for cell in bench["cells"]:
        assert set(cell["backends"]) == {"sdpa_fp32"}
        assert 0 < cell["backends"]["sdpa_fp32"]["p50_ms"] <= cell["backends"]["sdpa_fp32"]["p95_ms"]
        first = cell["dial"][0]
        assert set(first) == {"precision", "speedup", "predicted", "measured", "ci", "flops_speedup", "p50_ms"}
        assert first | {"p50_ms": 0} == {
            **{"precision": "fp32", "speedup": 1.0, "predicted": 1.0, "measured": 1.0, "ci": [1.0, 1.0]},
            **{"flops_speedup": 1.0, "p50_ms": 0},
        }
        for point in cell["dial"]:
            assert point["ci"][0] <= point["measured"] <= point["ci"][1]
            assert point["predicted"] >= point["speedup"] * (1 - 1e-3)
            assert point["flops_speedup"] >= 1.0
        names = {"sdpa_fp32", *(f"dial_fp32_{point['speedup']:g}x" for point in cell["dial"])}
        assert set(cell["samples_s"]) == names
        assert {len(samples) for samples in cell["samples_s"].values()} == {4}


def test_a_speedup_that_the_device_does_not_reach_is_named_with_the_largest_there_is(bench):
    for cell in bench["cells"]:
        speedups = [point["speedup"] for point in cell["dial"]]
        beyond = {left["speedup"]: left for left in cell["unreachable"]}
        assert sorted([*speedups, *beyond]) == [1.0, 1.05, 1000.0]
        assert beyond[1000.0]["precision"] == "fp32"
        assert all(left["maximum"] < speedup for speedup, left in beyond.items())


def test_environment_and_config_are_those_of_the_run(bench):
    where = bench["environment"]
    assert (where["threads"], where["precision"], where["affinity"]) == (1, "fp32", affinity())
    assert where["kernels"]["fp32"] in kernels("fp32", torch.device("cpu"))
    assert where["packages"]["torch"] == torch.__version__
    assert set(where["quiet"]) >= {"busy_elsewhere", "noisy"}
    assert bench["config"]["model"]["shape"]["num_hidden_layers"] == 3
    assert bench["config"]["clock"]["rounds"] == 2
    assert bench["warnings"] == []


def test_tables_and_picture_come_from_the_same_cells(folder, bench):
    assert json.loads(json.dumps(Bench.from_json(bench).to_json())) == bench
    with (folder / "bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(cell["backends"]) + len(cell["dial"]) for cell in bench["cells"])
    assert float(rows[0]["p50_ms"]) == bench["cells"][0]["backends"]["sdpa_fp32"]["p50_ms"]
    assert "dial fp32" in (folder / "bench.md").read_text()
    assert (folder / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_peers_that_are_not_installed_are_left_out_and_named(tmp_path, monkeypatch):
    found = backends.find_spec
    monkeypatch.setattr(backends, "find_spec", lambda module: None if module == "openvino" else found(module))
    options = ["batch=[1]", "length=[8]", "speedup=1", "backends=[openvino_fp32,sdpa_fp32]"]
    assert run(*TINY, *options, f"folder={tmp_path}").exit_code == 0
    bench = json.loads((tmp_path / "bench.json").read_text())
    assert set(bench["cells"][0]["backends"]) == {"sdpa_fp32"}
    (warning,) = bench["warnings"]
    assert warning.startswith("openvino_fp32 needs ")
    assert "openvino: pip install 'latadj[backends]'" in warning
    assert warning in (tmp_path / "bench.md").read_text()


def test_precisions_have_a_dial_each_and_need_no_backends(tmp_path):
    options = ["batch=[1]", "length=[8]", "speedup=1", "backends=[]", "precisions=[fp32,bf16]"]
    assert run(*TINY, *options, f"folder={tmp_path}").exit_code == 0
    bench = json.loads((tmp_path / "bench.json").read_text())
    assert [point["precision"] for point in bench["cells"][0]["dial"]] == ["fp32", "bf16"]
    assert set(bench["environment"]["kernels"]) == {"fp32", "bf16"}
    assert bench["cells"][0]["backends"] == {}


def test_peak_memory_is_measured_at_the_shape_that_is_named(tmp_path):
    options = ["batch=[1]", "length=[8,16]", "speedup=1", "backends=[]", "memory=[1,16]"]
    assert run(*TINY, *options, f"folder={tmp_path}").exit_code == 0
    short, long = json.loads((tmp_path / "bench.json").read_text())["cells"]
    assert short["memory_mb"] == {}
    assert set(long["memory_mb"]) == {"sdpa_fp32", "dial_fp32_1x"}
    assert min(long["memory_mb"].values()) > 50  # a process with torch in it


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("length=[8,65]", "length=[8, 65]: this model takes 64 tokens at most"),
        ("length=[]", "length=[]: expected a list of numbers, each at least 1"),
        ("batch=[0]", "batch=[0]: expected a list of numbers, each at least 1"),
        ("memory=[8]", "memory=[8]: expected [batch, length], each at least 1, or null"),
        ("precisions=[fp8]", "precisions=['fp8']: expected some of fp32, bf16, int8"),
        ("precisions=[]", "precisions=[]: expected some of fp32, bf16, int8"),
        ("backends=[tflite]", "backend 'tflite': expected one of sdpa_fp32, sdpa_bf16"),
        ("speedup=0.5", "speedup=0.5: expected a number >= 1"),
        ("every=0", "every=0: expected at least 1"),
        ("clock.rounds=0", "clock.rounds=0: expected at least 2"),
        ("clock.rounds=1", "latadj bench: clock.rounds=1: expected at least 2\n"),
        ("measure.repeats=0", "measure.repeats=0: expected at least 1"),
        ("model.shape.model_type=megatron-bert", "model type 'megatron-bert' is not supported: expected one of bert"),
        ("model.shape.model_type=nonsense", "Unrecognized model identifier: nonsense"),
    ],
)
def test_bad_options_are_refused(tmp_path, option, message):
    assert message in refused(*TINY, option, f"folder={tmp_path}/new")
    assert not (tmp_path / "new").exists()


def test_a_shape_without_a_model_type_is_refused(tmp_path):
    message = refused(*TINY[1:], "model=minilm", "+model.shape={hidden_size: 32}", f"folder={tmp_path}/new")
    assert "model.shape={'hidden_size': 32}: expected a model_type, such as bert" in message
    assert not (tmp_path / "new").exists()


def test_a_precision_that_does_not_run_here_is_left_out_with_a_warning(tmp_path, monkeypatch):
    def no_int8(model, precision, device):
        if precision == "int8":
            raise ValueError("device.precision=int8 runs on CPUs, not on toaster: take fp32 or bf16")
        return KernelSpec(precision, "plain")

    monkeypatch.setattr(latadj.commands.bench, "fastest_kernel", no_int8)
    shape = ["batch=[1]", "length=[8]", "memory=null", f"folder={tmp_path}/out"]
    assert run(*TINY, "precisions=[fp32,int8]", *shape).exit_code == 0
    found = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert {point["precision"] for cell in found["cells"] for point in cell["dial"]} == {"fp32"}
    assert any("not on toaster" in warning for warning in found["warnings"])
    assert "not on toaster" in refused(*TINY, "precisions=[int8]", *shape)
