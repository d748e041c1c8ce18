"""How often a command reads the metadata of its checkpoint: once, in the early check, which hands them on."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers import toy_project as toy
from helpers.command_line import run
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from latadj.checkpoints import checkpoint, metadata
from latadj.checkpoints.metadata import METADATA_FILE, CheckpointMetadata, TaskSpec
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.dial import Dial


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkpoint with a dial, and the plain model of its run beside it."""
    root = tmp_path_factory.mktemp("reads")
    toy.write_task(root / "data", examples=60)
    (root / "texts.txt").write_text("the film is good\na bad story\n")
    source = toy.write_model(root / "model")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    dial = Dial(layer_acc=(0.9, 0.8, 0.7, 0.6), lengths=tuple(range(6, 24)), shapes=layer_shapes(model))
    task_spec = TaskSpec("classification", ["text"], ["negative", "positive"], "accuracy", 32, 8)
    for name in ("plain", "checkpoint"):
        found = CheckpointMetadata("sst2", dial if name == "checkpoint" else None, {"run": "one"}, task_spec=task_spec)
        checkpoint.save(model, tokenizer, root / "out" / name, found)
    return root


@pytest.fixture
def reads(monkeypatch):
    """How often each model's metadata file was read, by the name of its folder."""
    counts = Counter()
    read = metadata.read_json

    def counted(path, what, mend, **options):
        if Path(path).name == METADATA_FILE:
            counts[Path(path).parent.name] += 1
        return read(path, what, mend, **options)

    monkeypatch.setattr(metadata, "read_json", counted)
    return counts


CLOCK = ["measure.batches=1", "measure.repeats=2", "measure.warmup=1"]


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("sweep", ["speedup=[1,2]", *CLOCK], {"checkpoint": 1, "plain": 1}),
        ("eval", ["speedup=2", "measure.examples=2", "measure.warmup=1"], {"checkpoint": 1}),
        # The second time is for the change: another device may have been calibrated meanwhile.
        ("calibrate", ["search.trials=0", "calibration.examples=8", "clock.rounds=0"], {"checkpoint": 2, "plain": 1}),
        ("predict", ["speedup=2", "input=texts.txt"], {"checkpoint": 1}),
        ("explain", ["the film is good", "speedup=2"], {"checkpoint": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_metadata_are_read_once(root, tmp_path, reads, command, options, expected):
    out = shutil.copytree(root / "out", tmp_path / "out")
    common = [option for option in toy.overrides(root) if not option.startswith("folder=")]
    if command in ("predict", "explain"):
        common = ["device.threads=1", "device.name=cpu"]
    options = [option.replace("input=", f"input={root}/") for option in options]
    run(command, *options, *common, f"folder={out}", f"checkpoint={out / 'checkpoint'}")
    assert reads == expected


def test_all_models_of_a_comparison_are_read_once(root, tmp_path, reads):
    models = [f"+compare.models.{name}={{checkpoint:{root / 'out' / name}}}" for name in ("plain", "checkpoint")]
    options = ["compare.precisions=[fp32]", "compare.memory=false", "measure.batches=0", f"folder={tmp_path / 'out'}"]
    run("sweep", *toy.overrides(root), *models, *options)
    assert reads == {"plain": 1, "checkpoint": 1}


def test_a_command_composes_its_config_once(root, tmp_path, monkeypatch):
    composed = []
    load = ConfigLoaderImpl.load_configuration

    def counted(*given, **options):
        composed.append(options["config_name"])
        return load(*given, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    options = [f"checkpoint={root}/out/checkpoint", f"folder={tmp_path}", "device.name=cpu", "device.threads=1"]
    run("explain", "the film is good", *options)
    assert composed == ["explain"]
    assert (tmp_path / "explain" / ".hydra" / "config.yaml").is_file()
