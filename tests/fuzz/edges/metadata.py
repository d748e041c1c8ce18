"""``latadj.json``, as `latadj info` reads it and every command before it loads a model."""

import json
import shutil
from pathlib import Path

from fuzz.harness import Edge, replaced
from fuzz.mutations import damaged_json

from latadj.checkpoints.metadata import SCHEMA, migrated, read_metadata, write_metadata
from latadj.commands.info import inspect

SAVED = Path(__file__).parents[2] / "checkpoints" / "version_1"
OLD = json.loads((SAVED / "latadj.json").read_text())
DECODER = json.loads((SAVED / "latadj-decoder.json").read_text())
NOTES = {
    **{"run": "a", "origin": "b", "seed": 0, "validation": {"plain": {"eval_accuracy": 0.8, "seconds": 9.0}}},
    **{"calibration": {"examples": 64, "seed": 0}},
    "pruned": {"objective": "size", "budget": 0.5, "tolerance": 0.01, "judged": 0.8, "confirmed": 0.79},
}


def prepare(folder: Path) -> Path:
    return Path(shutil.copytree(SAVED, folder / "checkpoint"))


def use(folder: Path, checkpoint: Path, content: bytes) -> None:
    def read() -> None:
        inspect(checkpoint).document()
        read = read_metadata(checkpoint)
        # What is accepted is written as it was read.
        write_metadata(checkpoint, read)
        assert read_metadata(checkpoint) == read

    replaced(checkpoint / "latadj.json", content, read)


NEW = {**migrated(OLD), "schema": SCHEMA, "notes": NOTES}
EDGES = [
    Edge("latadj.json", prepare, damaged_json(NEW), use, 260),
    Edge("latadj.json of version 1", prepare, damaged_json(OLD), use, 100),
    Edge("latadj.json of a decoder", prepare, damaged_json(DECODER), use, 100),
]
