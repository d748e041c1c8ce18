"""Every command can say what it takes, with each release of Typer and Click that we allow."""

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from latadj.cli import app

COMMANDS = sorted(get_command(app).commands)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(command):
    found = CliRunner().invoke(app, ["--help"] if command is None else [command, "--help"], catch_exceptions=False)
    assert found.exit_code == 0
    for said in ["--version", *COMMANDS] if command is None else [f"latadj {command}"]:
        assert said in found.output


def test_an_unknown_option_is_named():
    found = CliRunner().invoke(app, ["finetune", "--nope"], catch_exceptions=False, env={"TERM": "dumb"})
    assert found.exit_code == 2
    assert "--nope" in found.output
