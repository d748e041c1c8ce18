"""Tiny language models with random weights, large enough for logits to differ, and a tokenizer of whole words."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from latadj.checkpoints.metadata import CheckpointMetadata, write_metadata
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach, attached
from latadj.elimination.dial import Dial

VOCABULARY, POSITIONS = 60, 64
WORDS = ["the", "speech", "was", "long", "and", "nobody", "listened", "to", "it", "=", "speedup=3"]


def tiny_llama() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=POSITIONS,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def tiny_gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=POSITIONS,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def tiny_t5() -> PreTrainedModel:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=3,
        num_heads=4,
        initializer_factor=2.0,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=None,
    )
    return T5ForConditionalGeneration(config).eval()


DECODERS = {"llama": tiny_llama, "gpt2": tiny_gpt2}
LANGUAGE_MODELS = {**DECODERS, "t5": tiny_t5}


def tiny_tokenizer(chat: bool = False) -> PreTrainedTokenizerFast:
    """One token a word: padding, an unknown word, the first word, then ``WORDS``."""
    words = {word: number for number, word in enumerate(["<pad>", "<s>", "<unk>", *WORDS])}
    words |= {f"word{number}": number for number in range(len(words), VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    found = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", model_max_length=POSITIONS
    )
    if chat:
        found.chat_template = "{% for message in messages %}<s> {{ message['content'] }} the speech {% endfor %}"
    return found


def write_language_model(folder: Path, kind: str = "llama", chat: bool = False) -> Path:
    """A random language model and its tokenizer, saved as transformers saves them."""
    LANGUAGE_MODELS[kind]().save_pretrained(folder)
    tiny_tokenizer(chat).save_pretrained(folder)
    return folder


def rows_of_lengths(prompts: list[int], continuations: list[int]) -> list[dict[str, list[int]]]:
    """Random prompts and continuations of these lengths."""
    generator = torch.Generator().manual_seed(1)

    def ids(length: int) -> list[int]:
        return torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()

    return [
        {"input_ids": ids(prompt), "continuation": ids(continuation)}
        for prompt, continuation in zip(prompts, continuations, strict=True)
    ]


def with_dial(folder: Path, kind: str = "llama") -> Path:
    """The same folder with a dial in FLOPs, as `latadj calibrate` leaves it."""
    model = attach(LANGUAGE_MODELS[kind]())
    dial = Dial((0.7, 0.6, 0.5), (27,), layer_shapes(model), attached(model).reads, profile_type="geometric")
    write_metadata(folder, CheckpointMetadata(dial=dial))
    return folder
