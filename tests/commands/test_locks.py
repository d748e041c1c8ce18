"""Two runs never write in one place: the second is refused in one line, and a killed one blocks nobody."""

import signal
import subprocess
import sys

import pytest
from filelock import FileLock
from helpers import toy_project as toy
from typer.testing import CliRunner

from latadj.cli import app
from latadj.commands.table import COMMANDS
from latadj.utils.locks import only_writer

HOLD = """
import sys, time
from pathlib import Path
from latadj.utils.locks import only_writer
with only_writer(Path(sys.argv[1]), "folder=x"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def project(tmp_path):
    toy.write_model(tmp_path / "model")
    toy.write_task(tmp_path / "data", examples=24)
    return tmp_path


def test_a_second_fine_tuning_of_a_folder_is_refused(project):
    command = ["finetune", *toy.overrides(project), "plain.epochs=1", "adjustable=false"]
    (project / "out").mkdir()
    with FileLock(project / "out" / ".lock"):
        result = CliRunner().invoke(app, command)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert f"folder={project / 'out'}: another run is writing here" in result.stderr
        assert [path.name for path in (project / "out").iterdir()] == [".lock"]
    assert CliRunner().invoke(app, command).exit_code == 0


def test_a_killed_run_holds_nothing(tmp_path):
    lock = tmp_path / "folder" / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="folder=y: another run is writing here"), only_writer(lock, "folder=y"):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with only_writer(lock, "folder=y"):
        pass


def test_commands_that_only_read_a_folder_run_beside_others():
    assert {name for name, command in COMMANDS.items() if not command.alone} == {
        "predict",
        "serve",
        "generate",
        "explain",
        "report",
    }
