"""A tiny byte-level tokenizer and tiny language models."""

from functools import partial

from helpers.tiny_models import tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "Review: a good film, a very good film",
    "Review: a bad film, a long one",
    "Answer: yes or no",
    "terribly dull",
]


def tokenizer(ends: bool = False, **options):
    """Byte-level BPE, as GPT-2's and Llama 3's; with ``ends`` it puts ``</s>`` behind a text, as T5's."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS * 3, trainer)
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    if ends:
        bpe.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    options = {"model_max_length": 200, **options}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="</s>", **options)


def few_words():
    """A tokenizer of whole words, few enough for every tiny model."""
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "good": 3, "bad": 4}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=200, **special)


def _language_model(kind):
    return tiny(kind, "language", layers=2, vocab_size=300, max_position_embeddings=200)


DECODERS = {kind: partial(_language_model, kind) for kind in ("gpt2", "llama")}
"""Tiny random decoders, by architecture."""

LANGUAGE_MODELS = {**DECODERS, "t5": partial(_language_model, "t5")}
"""Those and an encoder-decoder."""
