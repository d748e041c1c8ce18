"""A toy task for taggers: sentences of templates with names out of small lists, and a tiny BERT that can learn them."""

import random
from pathlib import Path

import torch
from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

PEOPLE = ["Anna Berg", "Otto Lind", "Maria Holm", "Jan Berg", "Lena Holm", "Otto"]
PLACES = ["Oslo", "New Haven", "Bergen", "Malmo", "New Oslo"]
FIRMS = ["Lind Works", "Holm Works", "Nordic Steel"]
TEMPLATES = [
    "{PER} lives in {LOC} and works for {ORG}",
    "yesterday {PER} met {PER} in {LOC}",
    "{ORG} sold its house in {LOC} to {PER}",
    "the train to {LOC} was late",
    "nobody in the house was late yesterday",
]
NAMES = {"PER": PEOPLE, "LOC": PLACES, "ORG": FIRMS}
LABELS = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]


def sentence(rng: random.Random) -> tuple[list[str], list[str]]:
    """Words, and their tags in IOB2."""
    words, tags = [], []
    for part in rng.choice(TEMPLATES).split():
        if part.startswith("{"):
            kind = part.strip("{}")
            name = rng.choice(NAMES[kind]).split()
            words += name
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(name) - 1)]
        else:
            words.append(part)
            tags.append("O")
    return words, tags


def vocabulary() -> list[str]:
    """Word pieces; surnames are cut into two, so that some words have several tokens."""
    words = {word for text in (*TEMPLATES, *PEOPLE, *PLACES, *FIRMS) for word in text.split() if "{" not in word}
    pieces = {word: [word] if len(word) < 5 else [word[:3], f"##{word[3:]}"] for word in words if word[0].isupper()}
    whole = [word for word in words if word not in pieces]
    return [*sorted(whole), *sorted({piece for parts in pieces.values() for piece in parts})]


def write_model(folder: Path, layers: int = 4) -> Path:
    """A random BERT tagger, saved as transformers saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary()]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=48, do_lower_case=False)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
        num_labels=len(LABELS),
    )
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def conll(sentences: list[tuple[list[str], list[str]]]) -> str:
    """Sentences as CoNLL-2003 has them: four columns, the tag in the last."""
    blocks = ["-DOCSTART- -X- -X- O"]
    blocks += ["\n".join(f"{word} X X {tag}" for word, tag in zip(*one, strict=True)) for one in sentences]
    return "\n\n".join(blocks) + "\n"


def write_task(folder: Path, examples: int = 320) -> Path:
    """The official files' names, with sentences that do not stand in two of them more often than chance has it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for name, count in (("eng.train", examples), ("eng.testa", examples // 4), ("eng.testb", examples // 2)):
        (folder / name).write_text(conll([sentence(rng) for _ in range(count)]))
    return folder


def overrides(root: Path) -> list[str]:
    """Overrides that run the toy project inside ``root``."""
    return [
        "task=conll2003",
        f"model.path={root / 'model'}",
        f"task.data_dir={root / 'data'}",
        f"folder={root / 'out'}",
        "device.threads=1",
        "device.name=cpu",
    ]
