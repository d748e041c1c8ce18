"""The reference of options, and old keys."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from latadj.cli import app
from latadj.commands.table import COMMANDS as TABLE
from latadj.config import SCHEMAS
from latadj.config.compose import compose, typed
from latadj.config.reference import COMMANDS, options
from latadj.config.renamed import RENAMED


def test_the_help_of_a_command_needs_neither_torch_nor_transformers():
    code = """
import sys, latadj.cli
latadj.cli.app(["sweep", "--help"], standalone_mode=False)
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_key_of_a_command(command):
    found = options(command)
    shown = CliRunner().invoke(app, [command, "--help"], catch_exceptions=False).output
    text = shown[shown.index(f"Options of latadj {command}") :]
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    for option in found:
        assert all(isinstance(value, str) for value in vars(option).values())
        assert any(line.startswith(f"  {option.key}=") for line in lines), option.key


def test_the_reference_has_types_and_defaults():
    found = {option.key: option for option in options("finetune")}
    assert found["model"].default == "minilm"
    assert found["model"].type.split(" | ")[:2] == ["bert", "flan_t5"]
    assert (found["plain.epochs"].type, found["plain.epochs"].default) == ("number: 0 or more", "3 (by task.type)")
    assert found["checkpoint"].default == "${folder}/checkpoint"
    assert found["device.precision"].type == "fp32 | bf16 | int8 | auto"
    assert found["plain.max_steps"].type == "integer or null: at least 1"
    assert {option.key: option.default for option in options("sweep")}["speedup"] == "1..5"


def test_every_command_has_a_schema():
    assert set(TABLE) == set(SCHEMAS)


@pytest.mark.parametrize("old", RENAMED)
@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_an_old_key_is_refused_with_its_new_name(old, prefix):
    result = CliRunner().invoke(app, ["finetune", f"{prefix}{old}=1"], catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stderr == f"latadj finetune: {old}= is now {RENAMED[old]}=\n"


def test_new_keys_are_there():
    keys = {option.key for command in COMMANDS for option in options(command)}
    sections = {key.rpartition(".")[0] for key in keys}
    assert set(RENAMED.values()) <= keys | sections
    assert not keys & set(RENAMED)


def test_an_old_key_in_ones_own_yaml_is_refused_too(tmp_path, monkeypatch):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nplain: {average: 0.9}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"plain\.average= is now plain\.ema_decay="):
        typed("finetune", compose("finetune", ["experiment=mine"]))
