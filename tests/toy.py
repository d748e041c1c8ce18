"""A toy project: a tiny BERT with a tokenizer, and a task that it can learn, in the files a user would bring."""

import random
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
