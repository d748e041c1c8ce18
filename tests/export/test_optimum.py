"""A graph of one speedup is a model like any other to optimum and to sentence-transformers.

optimum-onnx needs an older transformers than latadj, so it runs in a Python of its own, which LATADJ_OPTIMUM_PYTHON
names; docs/guides/export.md says how to make one.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import run
from helpers.fixed_speedups import TEXTS, predicted, write_exported
from helpers.tiny_embedders import write_embedder
from helpers.tiny_models import dial_for

import latadj
from latadj.elimination.sentence_transformer import transformer_of

PYTHON = os.environ.get("LATADJ_OPTIMUM_PYTHON")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="LATADJ_OPTIMUM_PYTHON names no Python that has optimum-onnx")


def in_optimum(what: str, folder: Path) -> list:
    command = [PYTHON, str(Path(__file__).with_name("run_in_optimum.py")), what, str(folder), *TEXTS]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_optimum_gives_the_probabilities_of_the_predictor(tmp_path):
    folder = write_exported(tmp_path, [3]) / "at-3x"
    for answer, expected in zip(in_optimum("classify", folder), predicted(folder), strict=True):
        assert answer == pytest.approx(expected, abs=1e-4)


def test_sentence_transformers_gives_the_embeddings_of_the_dial(tmp_path):
    model = latadj.load(write_embedder(tmp_path / "model"), precision=None)
    model = latadj.attach(model, dial_for(transformer_of(model)))
    latadj.save(model, model.tokenizer, tmp_path / "out" / "checkpoint")
    run("export", f"folder={tmp_path / 'out'}", "device=cpu", "speedup=3", f"output={tmp_path / 'at-3x'}")
    answers = np.array(in_optimum("embed", tmp_path / "at-3x"))
    with latadj.at_speedup(model, 3):
        expected = model.encode(TEXTS)
    assert np.allclose(answers, expected, atol=1e-4)
    assert not np.allclose(answers, model.encode(TEXTS), atol=1e-2)
