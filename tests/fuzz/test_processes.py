"""The same answers out of a process of its own, as a shell sees them: exit code 2, one line, nothing written."""

import subprocess
import sys

import pytest

CALLS = [
    ["sweep", "speedup='=1+1'"],
    ["eval", "speedup=nan"],
    ["predict", "input=\udcff", "checkpoint=."],
    ["report", "folder=${oc.env:NOTHING}"],
    ["finetune", "task=[0]"],
    ["glue", "tasks=[[1]]"],
]


@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_odd_arguments_end_in_one_line(tmp_path, arguments):
    command = [sys.executable, "-m", "latadj", *arguments]
    found = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1 and found.stderr.startswith(f"latadj {arguments[0]}: ")
    assert not list(tmp_path.iterdir())
