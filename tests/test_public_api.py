"""What `import latadj` offers, and that it stays light."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import toy_project as toy

import latadj


def test_every_public_name_is_there_for_a_notebook_to_complete():
    assert set(latadj.__all__) <= set(dir(latadj))
    assert all(getattr(latadj, name).__doc__ for name in latadj.__all__)
    assert set(latadj._WHERE) == set(latadj.__all__)


def test_import_latadj_and_dir_load_no_torch():
    code = "import sys, latadj; dir(latadj); print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("own", "expected"), [({}, "8192"), ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}, "7")])
def test_onednn_keeps_the_kernels_of_all_shapes_that_a_dial_has_unless_somebody_said_otherwise(own, expected):
    code = "import latadj, os; print(os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'])"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ONEDNN_")} | own
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == expected


def test_the_guides_example_runs(tmp_path, monkeypatch, capsys):
    guide = (Path(__file__).parents[1] / "docs" / "guides" / "python.md").read_text(encoding="utf-8")
    snippet = "".join(re.findall(r"```python\n(.*?)```", guide, re.DOTALL))
    toy.write_model(tmp_path / "my-model")
    texts = [" ".join(["the film is good"] * (1 + number % 6)) for number in range(24)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(snippet, "python.md", "exec"), names)
    assert capsys.readouterr().out.startswith("from 1x to ")
    assert latadj.speedup_of(names["served"]) > 1.5
