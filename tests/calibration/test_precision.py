import copy
from functools import partial

import numpy as np
import pytest
import torch
from conftest import tiny_bert
from helpers.kernel_support import needs
from helpers.tiny_models import ARCHITECTURES, SHARED, tiny

from latadj.benchmark import kernel_selection
from latadj.benchmark.kernel_selection import fastest_kernel, kernels, remembered_kernel, serving_precision
from latadj.calibration import calibration_set as module
from latadj.calibration import precision
from latadj.calibration.calibration_set import ClassificationSet
from latadj.calibration.precision import PrecisionTrial, compare, fastest_that_agrees
from latadj.devices import measured_times
from latadj.elimination.architectures import layers_of
from latadj.elimination.attach import attach
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowered_linear import LoweredLinear
from latadj.kernels.lowering import is_lowered
from latadj.pruning import PruningUnit, remove

PRUNABLE = [architecture for architecture in ARCHITECTURES if architecture not in SHARED]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
KERNELS = dict.fromkeys(("plain", "onednn", "x86", "fbgemm", "qnnpack"), 2.0)


class Tokenizer:
    """All that batching needs of one."""

    padding_side, pad_token_id, pad_token_type_id = "right", 0, 0


def asked(*count):
    return ClassificationSet(rows=rows(*count), tokenizer=Tokenizer, batch_size=4)


def rows(count=24):
    rng = np.random.default_rng(0)
    return [{"input_ids": rng.integers(1, 120, rng.integers(3, 20)).tolist()} for _ in range(count)]


def clock(seconds):
    """``time_interleaved`` that gives these seconds, whatever is run; notes who took part."""
    seen = []

    def time_interleaved(variants, **options):
        seen.append(list(variants))
        for work in variants.values():
            for piece in work:
                piece()
        return {name: np.full((3, len(work)), seconds[name]) for name, work in variants.items()}

    time_interleaved.seen = seen
    return time_interleaved


@pytest.mark.parametrize(
    ("name", "quick"), [("fp32", "plain"), ("fp32", "onednn"), ("bf16", "onednn"), ("int8", "x86")]
)
def test_the_faster_kernel_is_taken(monkeypatch, name, quick):
    needs(name, quick)
    monkeypatch.setattr(kernel_selection, "time_interleaved", clock(KERNELS | {quick: 1.0}))
    model = tiny_bert()
    assert fastest_kernel(model, name, CPU) == KernelSpec(name, quick)
    assert not is_lowered(model)


def test_a_kernel_that_serves_is_measured_once_for_layers_of_a_size(monkeypatch, tmp_path):
    needs("fp32", "onednn")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measured_times, "_known", {})
    turns = clock({"plain": 2.0, "onednn": 1.0})
    monkeypatch.setattr(kernel_selection, "time_interleaved", turns)
    for model, count in ((tiny_bert(), 1), (tiny_bert(), 1), (tiny("llama"), 2), (tiny_bert(), 2)):
        measured_times._known.clear()  # as a new process
        assert remembered_kernel(model, "fp32", CPU) == KernelSpec("fp32", "onednn")
        assert len(turns.seen) == count
    monkeypatch.setattr(kernel_selection, "kernels", lambda precision, device: ["plain", "other"])
    monkeypatch.setattr(kernel_selection, "_kernel_times", lambda *model: {"plain": 1.0, "other": 2.0})
    assert remembered_kernel(tiny_bert(), "fp32", CPU).kernel == "plain", "a kernel that is gone was taken"


@pytest.mark.parametrize("profile_type", ARCHITECTURES)
def test_every_family_has_a_map_to_compare_kernels_on(monkeypatch, profile_type):
    needs("fp32", "onednn")
    monkeypatch.setattr(kernel_selection, "time_interleaved", clock(KERNELS | {"onednn": 1.0}))
    assert fastest_kernel(tiny(profile_type), "fp32", CPU) == KernelSpec("fp32", "onednn")


def test_a_pruned_model_is_asked_about_a_layer_that_it_has(monkeypatch):
    needs("fp32", "plain", "onednn")
    seen, pack = [], KernelSpec.pack

    def noted(spec, *maps, **options):
        seen.append(maps[0].weight.numel())
        return pack(spec, *maps, **options)

    monkeypatch.setattr(KernelSpec, "pack", noted)
    model = tiny("bert")
    remove(model, [PruningUnit("attention", 0), PruningUnit("feed_forward", 0)])
    fastest_kernel(model, "fp32", CPU)
    assert set(seen) == {32 * 32, 32 * 64}


@pytest.mark.parametrize("kind", ["attention", "feed_forward"])
@pytest.mark.parametrize("profile_type", PRUNABLE)
def test_a_layer_with_one_of_its_blocks_is_enough(profile_type, kind):
    needs("int8", "x86")
    model = tiny(profile_type)
    remove(model, [PruningUnit(kind, layer) for layer in range(len(layers_of(model)))])
    assert fastest_kernel(model, "int8", CPU).kernel in kernels("int8", CPU)


def test_a_kernel_that_is_quick_for_one_text_and_slow_for_a_batch_counts_by_both(monkeypatch):
    needs("fp32", "plain", "onednn")
    seconds = {"plain": np.array([[1.0, 4.0, 5.0]]), "onednn": np.array([[2.0, 3.0, 5.0]])}
    monkeypatch.setattr(kernel_selection, "time_interleaved", lambda *_, **__: seconds)
    assert fastest_kernel(tiny_bert(), "fp32", CPU).kernel == "plain"  # 1 * 4 * 5 against 2 * 3 * 5


def test_an_fp32_kernel_that_computes_something_else_is_not_taken(monkeypatch):
    needs("fp32", "onednn")
    pack = KernelSpec.pack

    class Off(LoweredLinear):
        def __init__(self, right):
            self.right = right

        def __call__(self, rows, dtype=None):
            return self.right(rows, dtype) + 1e-3

    def wrong(spec, *maps, **options):
        packed = pack(spec, *maps, **options)
        return Off(packed) if spec.kernel == "onednn" else packed

    monkeypatch.setattr(KernelSpec, "pack", wrong)
    turns = clock({"plain": 2.0, "onednn": 1.0})
    monkeypatch.setattr(kernel_selection, "time_interleaved", turns)
    assert fastest_kernel(tiny_bert(), "fp32", CPU).kernel == "plain"
    assert turns.seen == [["plain"]]


@pytest.mark.parametrize(
    ("name", "device", "without", "expected"),
    [
        ("fp32", CPU, None, ["plain", "onednn"]),
        ("bf16", CPU, None, ["plain", "onednn"]),
        ("bf16", CPU, "mkldnn", ["plain"]),
        ("bf16", CPU, "bf16", ["plain"]),
        ("fp32", CPU, "bf16", ["plain", "onednn"]),
        ("fp32", CUDA, None, ["plain"]),
        ("bf16", CUDA, None, ["plain"]),
        ("int8", CPU, None, ["onednn", "x86"]),
        ("int8", CPU, "vnni", ["x86"]),
        ("int8", CPU, "mkldnn", ["x86"]),
        ("int8", CPU, "x86", ["onednn", "qnnpack"]),
    ],
)
def test_what_could_run_a_precision(monkeypatch, name, device, without, expected):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: without != "mkldnn")
    monkeypatch.setattr(kernel_selection, "packs_bf16", lambda: without != "bf16")
    monkeypatch.setattr(kernel_selection, "vnni", lambda: without != "vnni")
    monkeypatch.setattr(
        kernel_selection, "engines", lambda: [name for name in ("qnnpack", "none", "x86") if name != without]
    )
    assert kernels(name, device) == expected


@pytest.mark.parametrize("ask", [kernels, partial(fastest_kernel, tiny_bert())])
def test_int8_is_refused_where_it_does_not_run(monkeypatch, ask):
    with pytest.raises(ValueError, match=r"device\.precision=int8 runs on CPUs, not on cuda: take fp32 or bf16"):
        ask("int8", CUDA)
    monkeypatch.setattr(kernel_selection, "engines", lambda: ["none"])
    with pytest.raises(ValueError, match="int8 needs an engine that this PyTorch lacks: take fp32 or bf16"):
        ask("int8", CPU)


def test_a_precision_that_is_none_is_refused_with_what_is_possible():
    with pytest.raises(ValueError, match="precision=fp8: expected one of fp32, bf16, int8, auto"):
        kernels("fp8", CPU)


def test_only_one_kernel_needs_no_clock(monkeypatch):
    monkeypatch.setattr(kernel_selection, "time_interleaved", None)
    assert fastest_kernel(tiny_bert(), "bf16", CUDA) == KernelSpec("bf16", "plain")


@pytest.mark.parametrize(
    ("bf16", "int8", "expected"),
    [
        ((1.0, 5.0), (0.996, 4.0), "int8"),
        ((1.0, 5.0), (0.995, 4.0), "int8"),
        ((1.0, 5.0), (0.994, 4.0), "bf16"),
        ((0.9, 5.0), (0.9, 4.0), "fp32"),
        ((1.0, 20.0), (1.0, 11.0), "fp32"),
    ],
)
def test_the_fastest_precision_that_agrees_is_taken(bf16, int8, expected):
    spec = KernelSpec("fp32", "plain")
    trials = {
        "fp32": PrecisionTrial(spec, 1.0, 10.0),
        "bf16": PrecisionTrial(spec, *bf16),
        "int8": PrecisionTrial(spec, *int8),
    }
    assert fastest_that_agrees(trials) == expected


def model_of(**options):
    return attach(tiny_bert(layers=2, **options))


def test_precisions_are_compared_on_the_same_texts_and_the_model_is_left_as_it_is(monkeypatch):
    needs("int8", "x86")
    times = {"fp32": 0.003, "bf16": 0.002, "int8": 0.001}
    turns = clock(times)
    monkeypatch.setattr(precision, "time_interleaved", turns)
    monkeypatch.setattr(
        precision, "fastest_kernel", lambda model, name, device: KernelSpec(name, kernels(name, device)[0])
    )
    model = model_of()
    before = copy.deepcopy(model.state_dict())
    trials = compare(model, asked(), CPU, batch_size=4)
    assert turns.seen == [["fp32", "bf16", "int8"]]
    assert {name: trial.ms for name, trial in trials.items()} == {name: 1000 * value for name, value in times.items()}
    assert trials["fp32"].agreement == 1.0
    assert all(0.8 <= trial.agreement <= 1.0 for trial in trials.values())
    assert all(trial.spec.precision == name for name, trial in trials.items())
    assert not is_lowered(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_precision_whose_answers_differ_agrees_less(monkeypatch):
    monkeypatch.setattr(kernel_selection, "time_interleaved", clock(KERNELS | {"fp32": 0.003, "bf16": 0.002}))
    answers = iter([np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 2, 1]]])
    monkeypatch.setattr(module, "predict", lambda *_, **__: next(answers))
    trials = compare(
        model_of(),
        ClassificationSet(rows=rows(4), tokenizer=Tokenizer, batch_size=4),
        CPU,
        batch_size=4,
        precisions=("fp32", "bf16"),
    )
    assert [trial.agreement for trial in trials.values()] == [1.0, 0.75]


def test_of_a_regression_agreement_is_correlation(monkeypatch):
    monkeypatch.setattr(kernel_selection, "time_interleaved", clock(KERNELS | {"fp32": 0.003, "bf16": 0.002}))
    answers = iter([np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [5.0]])])
    monkeypatch.setattr(module, "predict", lambda *_, **__: next(answers))
    trials = compare(
        model_of(),
        ClassificationSet(rows=rows(3), tokenizer=Tokenizer, batch_size=4),
        CPU,
        batch_size=4,
        precisions=("fp32", "bf16"),
    )
    assert trials["fp32"].agreement == 1.0
    assert trials["bf16"].agreement == pytest.approx(np.corrcoef([1, 2, 3], [1, 2, 5])[0, 1])


def test_a_processor_without_int8_compares_the_others(monkeypatch):
    monkeypatch.setattr(kernel_selection, "engines", lambda: [])
    monkeypatch.setattr(kernel_selection, "time_interleaved", clock(KERNELS | {"fp32": 0.003, "bf16": 0.002}))
    assert list(compare(model_of(), asked(4), CPU, batch_size=4)) == [
        "fp32",
        "bf16",
    ]


@pytest.fixture
def measuring(monkeypatch, tmp_path):
    """Sets what a layer takes on this device, which nobody has measured yet, and counts how often that is measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measured_times, "_known", {})
    monkeypatch.setattr(
        kernel_selection, "fastest_kernel", lambda model, precision, device: KernelSpec(precision, "plain")
    )
    times, measured = {"fp32": 1.0, "bf16": 1.0}, []

    def timed(variants, device):
        for run in variants.values():
            run()
        measured.append(list(variants))
        return dict(times), True

    monkeypatch.setattr(measured_times, "_timed", timed)
    return times, measured


@pytest.mark.parametrize(
    ("fp32_ms", "bf16_ms", "expected"), [(2.0, 1.0, "bf16"), (1.0, 2.0, "fp32"), (1.05, 1.0, "fp32")]
)
def test_auto_without_calibration_follows_the_measured_times(measuring, caplog, fp32_ms, bf16_ms, expected):
    times, measured = measuring
    times.update(fp32=fp32_ms, bf16=bf16_ms)
    caplog.set_level("INFO", logger="latadj")
    assert serving_precision(tiny_bert(), CPU) == expected
    assert f"auto takes {expected}: a layer takes {bf16_ms:.3g} ms in bf16, {fp32_ms:.3g} ms in fp32" in caplog.text
    measured_times._known.clear()  # as a new process
    times.update(fp32=bf16_ms, bf16=fp32_ms)
    assert serving_precision(tiny_bert(), CPU) == expected
    assert measured == [["fp32", "bf16"]]


def test_auto_measures_anew_for_layers_of_another_size(measuring):
    serving_precision(tiny_bert(), CPU)
    serving_precision(tiny("llama"), CPU)
    assert len(measuring[1]) == 2


@pytest.mark.parametrize("kind", [None, "attention", "feed_forward"])
@pytest.mark.parametrize("profile_type", PRUNABLE)
def test_a_layer_of_every_architecture_can_be_measured_in_both(measuring, profile_type, kind):
    model = tiny(profile_type)
    if kind:
        remove(model, [PruningUnit(kind, layer) for layer in range(len(layers_of(model)))])
    assert serving_precision(model, CPU) == "fp32"
    assert not is_lowered(model)
