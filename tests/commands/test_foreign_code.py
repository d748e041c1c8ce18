"""Code that a model's folder brings runs only where the user asks for it, whatever stands on standard input."""

import builtins
import json
import shutil

import pytest
from helpers import toy_project as toy
from typer.testing import CliRunner

from latadj.cli import app

PAYLOAD = """
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification
Path({trace!r}).write_text("ran")
class Config(BertConfig):
    pass
class Model(BertForSequenceClassification):
    config_class = Config
"""
MAP = {
    "AutoConfig": "payload.Config",
    "AutoModel": "payload.Model",
    "AutoModelForSequenceClassification": "payload.Model",
    "AutoModelForCausalLM": "payload.Model",
    "AutoTokenizer": ["payload.Model", None],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("foreign")
    toy.write_model(root / "model")
    toy.write_task(root / "data", examples=24)
    (root / "texts.txt").write_text("a good film\n")
    common = [*toy.overrides(root), "adjustable=false", "plain.epochs=1"]
    for arguments in (["finetune", *common], ["calibrate", *common[:-2], "search.trials=0", "clock.rounds=0"]):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return root


def with_code(folder, target, model_type):
    """A copy of a model whose config names code, which leaves a trace when it runs."""
    shutil.copytree(folder, target)
    trace = target.parent / "trace"
    (target / "payload.py").write_text(PAYLOAD.format(trace=str(trace)))
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "auto_map": MAP, "model_type": model_type}))
    return trace


COMMANDS = {
    "finetune": ["finetune", "plain.epochs=1", "adjustable=false"],
    "calibrate": ["calibrate", "search.trials=0", "clock.rounds=0"],
    "sweep": ["sweep", "speedup=1", "measure.batches=1", "measure.repeats=1"],
    "eval": ["eval", "speedup=1"],
    "prune": ["prune"],
    "predict": ["predict", "input=texts.txt", "output=labels.csv"],
    "explain": ["explain", "a good film"],
    "extract": ["extract", "speedup=1"],
    "info": ["info"],
    "generate": ["generate", "a good film"],
    "bench": ["bench"],
}


# A model that transformers knows is loaded without its folder's code, so these commands do all of their work.
@pytest.mark.parametrize(
    ("command", "model_type"),
    [*((command, "unheard_of") for command in COMMANDS), ("finetune", "bert"), ("eval", "bert"), ("explain", "bert")],
)
def test_no_command_runs_the_code_of_a_folder(root, tmp_path, monkeypatch, command, model_type):
    trace = with_code(root / "out" / "checkpoint", tmp_path / "model", model_type)
    monkeypatch.setattr(builtins, "input", lambda prompt="": "y")
    model = f"{'model.path' if command in ('finetune', 'bench') else 'checkpoint'}={tmp_path / 'model'}"
    overrides = [*toy.overrides(root), f"folder={tmp_path / 'out'}", model]
    own = {"bench": ["model=minilm", model], "info": [str(tmp_path / "model")]}
    shutil.copy(root / "texts.txt", tmp_path)
    with toy.inside(tmp_path):
        result = CliRunner().invoke(app, [*COMMANDS[command], *own.get(command, overrides)])
    assert not trace.exists()
    if command == "info" or model_type == "bert":
        assert result.exit_code == 0, result.output
    else:
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
        assert "brings code of its own, which is not run" in result.stderr
