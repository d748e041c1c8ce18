"""A tiny language model with random weights, and a text file for it."""

import random

from helpers.tiny_language_models import write_language_model

SENTENCE = "the speech was long and nobody listened to it"


def write_text(path, lines=80):
    """Lines of nine words in some order, again and again; the other words of the vocabulary never come."""
    rng = random.Random(0)
    orders = (rng.sample(SENTENCE.split(), 9) for _ in range(lines))
    path.write_text("".join(" ".join(order * 5) + "\n" for order in orders))


def overrides(root, kind="llama"):
    """Options that run a tiny model on a tiny text inside ``root``."""
    if not (root / "model").exists():
        write_language_model(root / "model", kind)
        write_text(root / "text.txt")
    return [
        "model=llama" if kind == "llama" else "model=flan_t5",
        "task=text",
        f"model.path={root / 'model'}",
        f"task.data_files={root / 'text.txt'}",
        f"folder={root / 'out'}",
        "task.block_words=40",
        "task.prompt_length=24",
        "task.continuation_length=4",
        "calibration.examples=8",
        "adjust.learning_rate=3e-3",
        "device.threads=1",
        "device.name=cpu",
    ]


def shared(options):
    """Those that other commands know as well."""
    return [option for option in options if not option.startswith(("calibration.", "adjust."))]
