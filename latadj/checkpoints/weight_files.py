"""What a model's files say of it, without its weights being read and without torch or transformers."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from latadj.utils.files import read_json

# Families call the same thing by different names.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTH = ("hidden_size", "n_embd", "d_model", "dim")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
# What a fingerprint reads of a file.
PIECES, PIECE = 64, 16_384


@dataclass
class Weights:
    """What stands in the headers of safetensors files.

    parameters : numbers, those of buffers included; shared ones count once, as they are stored
    bytes : of the files
    formats : number format, such as ``F32`` -> how many numbers are in it
    """

    parameters: int
    bytes: int
    formats: dict[str, int]


def read_headers(folder: Path) -> Weights:
    """Count the numbers of a saved model.

    Raises
    ------
    ValueError
        if a file is missing, damaged or cut short.
    """
    formats: Counter[str] = Counter()
    size = 0
    for path in weight_files(folder):
        if not path.is_file():
            raise ValueError(f"{path}: no such file, though the index beside it names it; copy the folder anew")
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118  it is no dict
                    part = file.get_slice(name)
                    formats[str(part.get_dtype())] += prod(part.get_shape())
        except SafetensorError as error:
            raise ValueError(f"{path}: these weights are damaged or were cut short ({error})") from error
        size += path.stat().st_size
    return Weights(sum(formats.values()), size, dict(formats))


def shape_of(config: dict[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Layers, width and heads out of a model's ``config.json``; None where it does not say."""

    def first(names: tuple[str, ...]) -> int | None:
        return next((int(config[name]) for name in names if isinstance(config.get(name), int)), None)

    return first(LAYERS), first(WIDTH), first(HEADS)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a saved model, whether they are there or not.

    Raises
    ------
    ValueError
        if the index of several files is damaged.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file() or not index.is_file():
        return [folder / "model.safetensors"]
    data = read_json(index, "index of the weights", "copy the folder anew")
    try:
        return sorted({folder / name for name in data["weight_map"].values()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index}: this index of the weights is damaged; copy the folder anew") from error


def fingerprint(folder: Path) -> str:
    """A short name for what a saved model's weights are, read in samples: other weights have another one.

    Training moves every weight, so that a few pieces of each file tell two models apart in no time.

    Raises
    ------
    ValueError
        if the index of several files is damaged.
    """
    digest = hashlib.sha256()
    for path in filter(Path.is_file, weight_files(folder)):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            for place in range(PIECES):
                file.seek(size * place // PIECES)
                digest.update(file.read(PIECE))
    return digest.hexdigest()[:16]
