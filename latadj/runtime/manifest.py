"""What a folder of exported graphs says of itself: ``export.json``. Needs neither torch nor transformers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.utils.serialization import structure, unstructure

MANIFEST_FILE = "export.json"
SCHEMA = "latadj.export/1"
# Inputs of a graph with a dial, beside the tokens.
KEEP, SHORT_LENGTH = "keep", "short_length"
# In their place where numbers of tokens are an input.
LEAVING = "leaving"
# The whole model's file by format, which is the name of its folder too.
WHOLE = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}


@dataclass
class ExportedGraph:
    """One graph of a folder.

    file : its path below the folder
    level : how wide its layers are; None: whole
    cuts : numbers of the layers that let tokens go, as many as the input ``leaving`` says; None: by keep ratios, or
        fixed
    """

    file: str
    level: Level | None = None
    cuts: list[int] | None = None


@dataclass(frozen=True)
class Embedding:
    """How a model embeds.

    pooling : names of what its pooling takes of the tokens, such as ``mean``, which the graphs do
    prompt : what it puts before a text
    prompts : what it may put there instead, by name
    similarity : name of the function that compares embeddings, as of sentence-transformers; None: its default
    dimensions : only so many numbers of an embedding are read; None: all
    """

    pooling: str
    prompt: str
    prompts: dict[str, str]
    similarity: str | None = None
    dimensions: int | None = None

    def first(self, vectors: np.ndarray, dimensions: int | None = None) -> np.ndarray:
        """(texts, numbers) of whole embeddings only the first so many numbers; None: as many as are read.

        Raises
        ------
        ValueError
            if an embedding does not have so many.
        """
        if dimensions is not None and len(vectors) and not 1 <= dimensions <= vectors.shape[1]:
            raise ValueError(f"dimensions={dimensions}: expected 1 to {vectors.shape[1]}, the numbers of an embedding")
        return vectors[:, : self.dimensions if dimensions is None else dimensions]


@dataclass
class Manifest:
    """What a folder of graphs holds.

    format, precision : ``onnx`` or ``openvino``, and ``fp32`` or ``int8``
    speedup : the one that the graph runs at; None: the dial is an input
    inputs, outputs : names of the token inputs, and of the outputs
    type : of the task, as in ``TASK_TYPES``; None: of a model without a head
    labels : names of the classes, in order; empty: nobody named them
    max_length : most tokens of a text
    pad_token_id : what stands beyond the tokens of a text
    graphs : the whole model's first
    embedding : how it embeds; None: it does not
    """

    format: str
    precision: str
    speedup: float | None
    inputs: list[str]
    outputs: list[str]
    type: str | None
    labels: list[str]
    max_length: int
    pad_token_id: int
    graphs: list[ExportedGraph]
    embedding: Embedding | None = None

    def write(self, folder: Path) -> None:
        text = json.dumps({"schema": SCHEMA, **unstructure(self)}, indent=1)
        (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """That of a folder.

        Raises
        ------
        ValueError
            if the folder is missing, holds no graphs, or is of another version.
        """
        mend = "make it with `latadj export`"
        if not is_exported(folder):
            what = "no such folder" if not folder.is_dir() else f"no {MANIFEST_FILE} in it"
            raise ValueError(f"folder {folder}: {what}; {mend}")
        data = _json_of(folder / MANIFEST_FILE, mend)
        schema = data.pop("schema", None)
        if schema != SCHEMA:
            raise ValueError(f"{folder / MANIFEST_FILE}: schema {schema!r}, this latadj reads {SCHEMA!r}; {mend} again")
        try:
            manifest = structure(cls, data)
        except ValueError as error:
            raise ValueError(f"{folder / MANIFEST_FILE}: {error}; {mend} again") from error
        if manifest.format not in WHOLE:
            raise ValueError(
                f"{folder / MANIFEST_FILE}: format {manifest.format!r}, this latadj runs {', '.join(WHOLE)}"
            )
        missing = next((one.file for one in manifest.graphs if not (folder / one.file).is_file()), None)
        if missing is not None or not manifest.graphs:
            raise ValueError(f"folder {folder}: {missing or 'no graph'} is not there; {mend} again")
        return manifest


def layers_that_cut(profile: Profile, dial: Dial) -> list[int]:
    """Numbers of the layers where texts may lose tokens at a profile of a dial."""
    keep = profile.held(dial.attending(profile.level)).keep
    return [layer for layer, ratio in enumerate(keep) if ratio < (keep[layer - 1] if layer else 1.0)]


def is_exported(folder: Path) -> bool:
    """Whether a folder holds graphs, and no checkpoint."""
    return (folder / MANIFEST_FILE).is_file()


def dial_of(folder: Path) -> tuple[Dial | None, dict[str, Any]]:
    """The dial that a folder's ``latadj.json`` holds, and the rest of that file as it is.

    Raises
    ------
    ValueError
        if the file is damaged.
    """
    path = folder / "latadj.json"
    if not path.is_file():
        return None, {}
    data = _json_of(path, "export it again")
    if data.get("schema") != "latadj.checkpoint/2":
        raise ValueError(f"{path}: schema {data.get('schema')!r}, this latadj reads 'latadj.checkpoint/2'")
    try:
        return structure(Dial, data["dial"]) if data.get("dial") else None, data
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def clock_of(data: dict[str, Any], place: str, precision: str) -> LatencyModel | None:
    """The latest clock of a runtime on a machine that a folder's ``latadj.json`` holds."""
    device = (data.get("devices") or {}).get(place) or {}
    models = ((device.get("serving") or {}).get(precision) or {}).get("models") or []
    return structure(LatencyModel, models[0]) if models else None


def _json_of(path: Path, mend: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); {mend}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected an object, got {type(data).__name__}; {mend}")
    return data
