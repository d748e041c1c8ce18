"""A toy project: a tiny BERT with a tokenizer, and a task that it can learn, in the files a user would bring."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

GOOD, BAD = ["good", "fine", "great"], ["bad", "poor", "awful"]
FILLER = ["the", "film", "is", "a", "very", "long", "story", "about", "people", "and", "music"]


def write_model(folder: Path, layers: int = 4) -> Path:
    """A random BERT classifier, saved as transformers saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *FILLER]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        num_labels=2,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_task(folder: Path, examples: int = 480) -> Path:
    """Sentences of 4 to 20 words, good or bad, in GLUE's layout for SST-2."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for name, count in (("train.tsv", examples), ("dev.tsv", examples // 2)):
        lines = ["sentence\tlabel"]
        for number in range(count):
            label = number % 2
            words = rng.choices(FILLER, k=rng.randint(3, 19))
            words.insert(rng.randrange(len(words)), rng.choice(GOOD if label else BAD))
            lines.append(f"{' '.join(words)}\t{label}")
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Another working folder, inside a ``with`` block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def overrides(root: Path) -> list[str]:
    """Overrides that run the toy project inside ``root``."""
    return [
        "task=sst2",
        f"model.path={root / 'model'}",
        f"task.data_dir={root / 'data'}",
        f"folder={root / 'out'}",
        "device.threads=1",
        "device.name=cpu",
    ]


def write_glue(folder: Path, examples: int = 120) -> Path:
    """GLUE's folders SST-2 and STS-B: the toy task, and how alike two of its sentences are; both with test files."""
    write_task(folder / "SST-2", examples)
    sentences = [line.split("\t")[0] for line in (folder / "SST-2" / "dev.tsv").read_text().splitlines()[1:]]
    lines = [f"{index}\t{sentence}" for index, sentence in enumerate(sentences[:9])]
    (folder / "SST-2" / "test.tsv").write_text("\n".join(["index\tsentence", *lines]) + "\n")
    (folder / "STS-B").mkdir(parents=True)
    rng = random.Random(1)
    columns = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
    for name, count in (("train.tsv", examples), ("dev.tsv", examples // 2), ("test.tsv", 5)):
        lines = [columns if name == "test.tsv" else f"{columns}\tscore"]
        for index in range(count):
            words = [rng.choice([*GOOD, *BAD]), rng.choice([*GOOD, *BAD])]
            texts = [f"the film is {word}" for word in words]
            score = 4 * ((words[0] in GOOD) == (words[1] in GOOD)) + rng.random()
            given = "" if name == "test.tsv" else f"\t{score:.3f}"
            lines.append(f"{index}\tg\tf\t2012\t{index}\tnone\tnone\t{texts[0]}\t{texts[1]}{given}")
        (folder / "STS-B" / name).write_text("\n".join(lines) + "\n")
    return folder
