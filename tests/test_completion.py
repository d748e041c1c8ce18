"""Bash completes commands, keys and values, asked as the script of `latadj --install-completion` asks."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from latadj.cli import app

MODELS = ["bert", "flan_t5", "gpt2", "llama", "minilm", "modernbert", "mpnet", "smollm2"]


def completed(*words):
    """What bash offers for the last word; it takes ``=`` for a word of its own."""
    asked = {"_LATADJ_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    return CliRunner().invoke(app, [], env=asked, prog_name="latadj").stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("latadj", "cal"), ["calibrate"]),
        (("latadj", "finetune", "dev"), ["device=", "device."]),
        (
            ("latadj", "finetune", "device.tr"),
            [f"device.train_precision={value}" for value in ("", "auto", "fp32", "bf16")],
        ),
        (("latadj", "finetune", "plain.ep"), ["plain.epochs=", "plain.epochs=<number>"]),
        (("latadj", "finetune", "adj"), ["adjustable=", "adjust."]),
        (("latadj", "finetune", "device.cpus"), ["device.cpus=", "device.cpus=<list of integer or null>"]),
        (("latadj", "finetune", "task", "=", "ss"), ["sst2", "sst5"]),
        (("latadj", "finetune", "model", "="), MODELS),
        (("latadj", "finetune", "task=ss"), ["task=sst2", "task=sst5"]),
        (("latadj", "sweep", "seed=1", "dial.target", "="), ["latency", "flops"]),
        (("latadj", "finetune", "resume", "=", ""), ["true", "false"]),
        (("latadj", "finetune", "model", "=", "bert", "tas"), ["task=", "task."]),
        (("latadj", "explain", '"a fine film"', "profile", "=", "se"), ["searched"]),
        (("latadj", "glue", "plain.lea"), ["plain.learning_rate=", "plain.learning_rate=<number>"]),
        (("latadj", "sweep", "plain.ep"), []),
    ],
)
def test_bash_completes(words, expected):
    assert [word for word in completed(*words) if word] == expected


def test_every_key_of_a_section_is_offered():
    assert {"adjust.epochs=", "adjust.teacher=", "adjust.full_share="} <= set(
        completed("latadj", "finetune", "adjust.")
    )


def test_a_task_of_ones_own_is_offered(tmp_path, monkeypatch):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "sst_mine.yaml").write_text("name: sst_mine\n")
    monkeypatch.chdir(tmp_path)
    assert completed("latadj", "finetune", "task", "=", "sst") == ["sst2", "sst5", "sst_mine"]


def test_completion_imports_neither_torch_nor_hydra():
    code = """
import sys
from latadj.cli import main
try:
    main()
except SystemExit:
    print([name for name in ("torch", "transformers", "hydra", "pandas") if name in sys.modules])
"""
    asked = {"_LATADJ_COMPLETE": "complete_bash", "COMP_WORDS": "latadj\nfinetune\ntask\n=\nsst2", "COMP_CWORD": "4"}
    command = [sys.executable, "-c", code.replace("main()", 'sys.argv[0] = "latadj"; main()')]
    found = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert found.stdout == "sst2\n[]\n"
