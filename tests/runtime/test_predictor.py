"""`latadj export` and what runs its folder without torch."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.tiny_models import dial_for

import latadj
from latadj.elimination.attach import dial_of
from latadj.elimination.current_setting import at_profile
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.level_dials import with_levels
from latadj.elimination.profiles import Profile
from latadj.runtime import Predictor
from latadj.runtime.manifest import clock_of
from latadj.runtime.place import place
from latadj.utils.serialization import unstructure

TEXTS = ["a good film", "the very long story about people is awful", "music", "", "good good good fine film"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run folder with a checkpoint whose dial has two levels and spares short texts, and its graphs."""
    root = tmp_path_factory.mktemp("export")
    model, tokenizer = latadj.load(toy.write_model(root / "model", layers=2), precision=None)
    dial = with_levels(replace(dial_for(model), profile_type="geometric", widths=(0.75, 0.5)), [1.5, 3])
    anchors = tuple(replace(anchor, whole_length=3.0) for anchor in dial.anchors)
    latadj.save(latadj.attach(model, replace(dial, anchors=anchors)), tokenizer, root / "out" / "checkpoint")
    run("export", f"folder={root / 'out'}", "device=cpu")
    return root


@pytest.fixture(scope="module")
def folder(root):
    return root / "out" / "exported"


def logits(root, profile):
    model, tokenizer = latadj.load(root / "out" / "checkpoint", precision=None)
    with torch.no_grad(), at_profile(model, profile):
        return model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.numpy()


@pytest.fixture(scope="module")
def for_openvino(root):
    """The same for OpenVINO."""
    pytest.importorskip("openvino")
    run("export", f"folder={root / 'out'}", "device=cpu", "format=openvino", f"output={root / 'out' / 'openvino'}")
    return root / "out" / "openvino"


@pytest.mark.parametrize("speedup", [1, 1.5, 2.2, 3])
@pytest.mark.parametrize("graphs", ["folder", "for_openvino"])
def test_outputs_are_those_of_pytorch_at_the_same_speedup(request, root, graphs, speedup):
    predictor = Predictor(request.getfixturevalue(graphs), threads=1, batch_size=3)
    profile = predictor.profile(speedup)
    (made,) = predictor.outputs(TEXTS, speedup=speedup)
    assert np.allclose(made, logits(root, profile), atol=1e-5)


def test_graphs_leave_the_cores_to_each_other_after_a_run(folder):
    predictor = Predictor(folder, threads=1)
    for speedup in (1, 3):
        options = predictor.session(predictor.profile(speedup)).get_session_options()
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_graphs_of_all_widths_use_the_same_memory(folder):
    code = """
import sys
from pathlib import Path
from latadj.runtime import Predictor

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

texts = ["a good film about people and music"] * 4000
predictor = Predictor(sys.argv[1], threads=1, batch_size=len(texts))
for speedup in (1, 1.5, 3):
    predictor.outputs(texts[:2], speedup=speedup)
before = pages()
for _ in range(3):
    predictor.outputs(texts, speedup=1)
first = pages()
for speedup in (1.5, 3):
    predictor.outputs(texts, speedup=speedup)
print(before, first, pages())
"""
    found = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    before, first, last = map(int, found.stdout.split())
    assert last - first < (first - before) / 4


def test_int8_graphs_are_smaller_and_say_about_the_same(root, folder, tmp_path):
    found = run("export", f"folder={root / 'out'}", "device=cpu", "precision=int8", f"output={tmp_path / 'int8'}")
    assert "int8" in found.output
    predictor = Predictor(tmp_path / "int8", threads=1)
    assert predictor.manifest.precision == "int8"
    for speedup in (1, 3):
        (made,) = predictor.outputs(TEXTS, speedup=speedup)
        whole = logits(root, predictor.profile(speedup))
        assert not np.array_equal(made, whole)
        assert np.abs(made - whole).max() < 0.3 * np.abs(whole).max()
    sizes = [sum(one.stat().st_size for one in (each / "onnx").iterdir()) for each in (folder, tmp_path / "int8")]
    assert sizes[1] < sizes[0]


def test_openvino_runs_larger_batches_after_smaller_ones(root, for_openvino):
    predictor = Predictor(for_openvino, threads=1)
    profile = predictor.profile(3)
    for size in (1, 2, 5):
        (made,) = predictor.outputs(TEXTS[:size], speedup=3)
        assert np.allclose(made, logits(root, profile)[:size], atol=1e-5)


def test_openvino_in_int8_says_about_the_same(root, tmp_path):
    pytest.importorskip("nncf")
    (tmp_path / "texts.txt").write_text("\n".join(["a good film", "", "the very long story about people is awful"] * 8))
    options = ("format=openvino", "precision=int8", "speedup=3", f"output={tmp_path / 'int8'}")
    run("export", f"folder={root / 'out'}", "device=cpu", *options, f"texts={tmp_path / 'texts.txt'}")
    predictor = Predictor(tmp_path / "int8", threads=1)
    assert (predictor.manifest.format, predictor.manifest.precision) == ("openvino", "int8")
    profile = replace(Predictor(root / "out" / "exported").profile(3), whole_length=0.0)
    whole = logits(root, profile)
    (made,) = predictor.outputs(TEXTS)
    assert not np.array_equal(made, whole)
    assert np.abs(made - whole).max() < 0.3 * np.abs(whole).max()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["format=openvino", "precision=int8"], "measures ranges over texts like those to come: texts=FILE"),
        (["texts=some.txt"], "texts=some.txt: only format=openvino precision=int8 reads texts"),
        (["format=openvino", "precision=int8", "texts=nowhere.txt"], "texts=nowhere.txt: cannot be read"),
        (["format=tflite"], "format=tflite: expected one of onnx, openvino"),
    ],
)
def test_formats_that_cannot_be_written_are_refused(root, options, words):
    found = run("export", f"folder={root / 'out'}", *options, expect=2)
    assert words in " ".join(found.output.split())


def test_a_profile_that_cuts_where_no_graph_does_is_refused(for_openvino):
    predictor = Predictor(for_openvino, threads=1)
    predictor.manifest.graphs = predictor.manifest.graphs[:1]
    assert predictor.runs(predictor.profile(1))
    with pytest.raises(ValueError, match="has no graph of this level that cuts here; export it again"):
        predictor.run(predictor.encoder(["a"]), Profile((0.9, 0.5)))


def test_predictions_have_labels_and_probabilities(folder):
    (first, *_) = Predictor(folder, threads=1)(TEXTS)
    assert first.label in first.probabilities
    assert sum(first.probabilities.values()) == pytest.approx(1)
    assert first.probability == max(first.probabilities.values())
    assert Predictor(folder, threads=1)([]) == []


def test_torch_and_transformers_are_not_needed(folder):
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'hydra', 'omegaconf', 'psutil', 'pandas'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from latadj.runtime import Predictor\n"
        f"print(len(Predictor({str(folder)!r}, threads=1)(['a good film'], speedup=2)))\n"
    )
    paths = os.pathsep.join(filter(None, [str(Path(latadj.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout.strip(), done.returncode) == ("1", 0), done.stderr


def test_a_deadline_takes_the_smallest_speedup_that_meets_it(folder, tmp_path):
    with pytest.raises(
        ValueError, match=f"deadline_ms=5 needs a clock of this machine .{re.escape(place(1, 'onnxruntime'))}"
    ):
        Predictor(folder, threads=1)(TEXTS, deadline_ms=5)
    timed, data = shutil.copytree(folder, tmp_path / "timed"), json.loads((folder / "latadj.json").read_text())
    part = Ramp(1e-4, (0.0, 32.0), (32e-3,))
    clock = LatencyModel(len(TEXTS), part, part, part, part, Ramp(1e-4, (0.0, 32.0), (1e-4,)))
    served = {"kernel": "onnxruntime", "models": [unstructure(clock)]}
    data["devices"] = {place(1, "onnxruntime"): {"precision": None, "trials": {}, "serving": {"fp32": served}}}
    (timed / "latadj.json").write_text(json.dumps(data))
    predictor = Predictor(timed, threads=1)
    assert predictor.dial.latency == clock
    lengths = np.array([len(one) for one in predictor.encoder(TEXTS)])
    ran = []
    predictor.run, run_batch = lambda batch, profile: ran.append(profile) or run_batch(batch, profile), predictor.run
    slowest, fastest = (1e3 * predictor.seconds(predictor.profile(one), lengths) for one in (1, predictor.dial.reach()))
    for deadline_ms in (2 * slowest, (slowest + fastest) / 2, 1e-3):
        ran.clear()
        predictor(TEXTS, deadline_ms=deadline_ms)
        assert ran[0].is_full == (deadline_ms > slowest)
        if fastest < deadline_ms < slowest:
            assert 1e3 * predictor.seconds(ran[0], lengths) <= deadline_ms


def test_bad_input_is_one_line(root, folder, tmp_path):
    predictor = Predictor(folder, threads=1)
    for text, options in (
        ("is beyond this dial", {"speedup": 50}),
        ("speedup=2 with deadline_ms or max_drop: give one of them", {"speedup": 2, "max_drop": 1}),
        ("was not measured", {"max_drop": 1}),
    ):
        with pytest.raises(ValueError, match=text):
            predictor(TEXTS, **options)
    with pytest.raises(ValueError, match=r"texts\[1\]: got int"):
        predictor(["a", 3])
    with pytest.raises(ValueError, match="above"):
        predictor.run(predictor.encoder(["a"]), Profile((0.5, 0.9)))
    with pytest.raises(ValueError, match="no such folder; make it with `latadj export`"):
        Predictor(tmp_path / "nowhere")
    other = shutil.copytree(folder, tmp_path / "other")
    manifest = json.loads((other / "export.json").read_text())
    (other / "export.json").write_text(json.dumps(manifest | {"schema": "latadj.export/9"}))
    with pytest.raises(ValueError, match=r"schema 'latadj.export/9', this latadj reads 'latadj.export/1'"):
        Predictor(other)


def test_a_folder_of_something_else_is_not_replaced(root, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    found = run("export", f"folder={root / 'out'}", f"output={tmp_path / 'mine'}", expect=2)
    assert "letter.txt, which is no part of a saved model" in " ".join(found.output.split())
    found = run("export", f"folder={root / 'out'}", "opset=19", expect=2)
    assert "opset=19: expected 21, 22 or 23" in " ".join(found.output.split())


def test_no_clock_is_of_another_machine(folder):
    assert clock_of(json.loads((folder / "latadj.json").read_text()), "another", "fp32") is None
    assert dial_of(latadj.load(folder.parent / "checkpoint", precision=None)[0]).levels == Predictor(folder).dial.levels


@pytest.mark.parametrize(("graphs", "runtime"), [("folder", "onnxruntime"), ("for_openvino", "openvino")])
def test_calibrate_measures_the_graphs_and_leaves_the_checkpoint_alone(request, root, graphs, runtime, tmp_path):
    timed = shutil.copytree(request.getfixturevalue(graphs), tmp_path / "timed")
    before = (root / "out" / "checkpoint" / "latadj.json").read_bytes()
    options = ("clock.rounds=2", "workload.batch=2", "device.threads=1", f"exported={timed}")
    run("calibrate", f"runtime={runtime}", f"folder={root / 'out'}", *options)
    assert (root / "out" / "checkpoint" / "latadj.json").read_bytes() == before
    predictor = Predictor(timed, threads=1)
    assert predictor.dial.latency.batch == 2
    assert predictor.seconds(predictor.profile(1), np.array([8, 8])) > 0
    assert all(predictor.runs(predictor.profile(one)) for one in np.linspace(1, predictor.dial.reach(), 17))
    other = {"onnxruntime": "openvino", "openvino": "onnxruntime"}[runtime]
    found = run("calibrate", f"runtime={other}", f"exported={timed}", expect=2)
    assert f"the graphs of exported={timed} are for {runtime}" in " ".join(found.output.split())
    found = run("calibrate", "runtime=onnxruntime", f"exported={tmp_path / 'none'}", expect=2)
    assert "no such folder; make it with `latadj export`" in " ".join(found.output.split())
