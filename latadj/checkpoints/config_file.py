"""``config.json``, as far as it is read before transformers reads it, and the names of labels in it. Needs no torch."""

import math
import re
import reprlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from latadj.checkpoints.weight_files import HEADS, LAYERS, WIDTH
from latadj.utils.files import read_json

CONFIG_FILE = "config.json"
# Counts of which transformers makes a model before it looks at the weights.
_MOST = {
    **dict.fromkeys((*LAYERS, "num_decoder_layers", *HEADS, "num_key_value_heads"), 2**10),
    **dict.fromkeys((*WIDTH, "intermediate_size", "num_labels"), 2**20),
}
_NO_LAYERS_IS_A_MODEL = {*LAYERS, "num_decoder_layers"}
_DROPOUT = re.compile(r"(?:^|_)(?:dropout(?:_prob|_rate)?|pdrop)$")
_SWITCHES = ("output_hidden_states", "output_attentions", "use_cache", "tie_word_embeddings", "is_decoder")


def model_config(folder: Path, mend: str) -> dict[str, Any]:
    """What ``config.json`` of a model's folder holds.

    Raises
    ------
    ValueError
        if it is missing, damaged, no object, or says what transformers takes and then fails by: counts that are none or
        would fill the memory, dropout that is no probability, switches that are neither on nor off; the message ends
        with how to ``mend`` it.
    """
    path = folder / CONFIG_FILE
    config = read_json(path, "transformers model", mend, finite=False)
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected an object, got {type(config).__name__}; {mend}")
    for name, expected in _mistakes(config):
        raise ValueError(f"{path}: {name}={reprlib.repr(config[name])}: expected {expected}; {mend}")
    return config


def _mistakes(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of what cannot be so, and what was expected there; a null is what is not there."""
    for name, most in _MOST.items():
        if isinstance(count := config.get(name), (int, float)):
            if not count <= most:
                yield name, f"at most {most:,}"
            elif count < (least := 0 if name in _NO_LAYERS_IS_A_MODEL else 1):
                yield name, f"at least {least}"
    rules: tuple[tuple[Callable[[str], object], Callable[[Any], bool], str], ...] = (
        (_DROPOUT.search, _is_probability, "a number from 0 to 1"),
        (_SWITCHES.__contains__, lambda value: isinstance(value, bool), "true or false"),
    )
    for name, value in config.items():
        for concerns, holds, expected in rules:
            if value is not None and concerns(name) and not holds(value):
                yield name, expected


def _is_probability(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= 1


def named_labels(folder: Path) -> list[str] | None:
    """The labels of a saved model by class number, as its author named them; None if nobody did.

    Raises
    ------
    ValueError
        if a class is no number.
    """
    named = model_config(folder, "name another with checkpoint=FOLDER").get("id2label")
    try:
        names = {int(number): str(name) for number, name in (named if isinstance(named, dict) else {}).items()}
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_FILE}: id2label names a class that is no number ({error})") from error
    if not names or all(re.fullmatch(r"LABEL_\d+", name) for name in names.values()):
        return None
    return [names[number] for number in sorted(names)]
