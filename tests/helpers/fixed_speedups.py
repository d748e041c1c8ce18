"""A tiny classifier with a dial, exported at one speedup a folder, for runtimes that are not ours."""

from collections.abc import Sequence
from pathlib import Path

from helpers import toy_project as toy
from helpers.command_line import run
from helpers.tiny_models import dial_for, tiny

import latadj
from latadj.runtime import Predictor

LABELS = {0: "bad", 1: "good", 2: "neither"}
# Of unlike length, so that a batch has padding; one has no tokens of its own, one nearly as many as the model takes.
TEXTS = ["a good film", "the very long story about people is awful", "music", "", "Good, but very very LONG! " * 3]


def write_exported(root: Path, speedups: Sequence[float]) -> Path:
    """The folder of the folders ``at-1x``, ``at-3x``, ... of one classifier."""
    toy.write_model(root / "model")
    words = len((root / "model" / "vocab.txt").read_text().split())
    tiny("bert", vocab_size=words, max_position_embeddings=32, id2label=LABELS).save_pretrained(root / "model")
    model, tokenizer = latadj.load(root / "model", precision=None)
    latadj.save(latadj.attach(model, dial_for(model)), tokenizer, root / "out" / "checkpoint")
    for speedup in speedups:
        output = f"output={root / 'models' / f'at-{speedup:g}x'}"
        run("export", f"folder={root / 'out'}", "device=cpu", f"speedup={speedup}", output)
    return root / "models"


def predicted(folder: Path) -> list[dict[str, float]]:
    """For each text the probability of every label, by `latadj.runtime.Predictor`."""
    return [one.probabilities for one in Predictor(folder, threads=1)(TEXTS)]
