"""A tiny byte-level tokenizer and tiny language models."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

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


def gpt2():
    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=200, initializer_range=0.3)
    return _random(GPT2LMHeadModel, config)


def llama():
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=200,
        initializer_range=0.3,
    )
    return _random(LlamaForCausalLM, config)


def t5():
    config = T5Config(vocab_size=300, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0)
    return _random(T5ForConditionalGeneration, config)


def _random(kind, config):
    torch.manual_seed(0)
    return kind(config).eval()


DECODERS = {"gpt2": gpt2, "llama": llama}
"""Tiny random decoders, by family."""

LANGUAGE_MODELS = {**DECODERS, "t5": t5}
"""Those and an encoder-decoder."""
