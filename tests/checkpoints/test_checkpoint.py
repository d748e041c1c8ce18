"""Which head a model is loaded with, and how its tokenizer pads."""

import pytest
import torch
from helpers import toy_project as toy
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import ModelConfig
from latadj.config.compose import compose, typed

GPT2 = {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
LLAMA = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
T5 = {"vocab_size": 40, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**T5, decoder_start_token_id=0)),
    "gpt2_classifier": lambda: GPT2ForSequenceClassification(GPT2Config(**GPT2, num_labels=2, pad_token_id=1)),
}


def write(folder, kind):
    """A random model with a tokenizer that has no padding token but T5's."""
    toy.write_model(folder)
    made = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token="[SEP]", unk_token="[UNK]")
    if kind == "t5":
        made.pad_token = "[PAD]"
    for path in folder.iterdir():
        path.unlink()
    torch.manual_seed(0)
    MODELS[kind]().save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "name", "pad", "side"),
    [
        ("gpt2", "GPT2LMHeadModel", "[SEP]", "left"),
        ("llama", "LlamaForCausalLM", "[SEP]", "left"),
        ("t5", "T5ForConditionalGeneration", "[PAD]", "right"),
        ("gpt2_classifier", "GPT2ForSequenceClassification", "[SEP]", "left"),
    ],
)
def test_a_saved_model_is_loaded_with_the_head_it_was_saved_with(tmp_path, kind, name, pad, side):
    model, tokenizer = checkpoint.load(write(tmp_path / "model", kind))
    assert type(model).__name__ == name
    assert (tokenizer.pad_token, tokenizer.padding_side) == (pad, side)
    assert model.config.pad_token_id is not None


def test_a_bert_is_loaded_as_ever(tmp_path):
    model, tokenizer = checkpoint.load(toy.write_model(tmp_path / "model"), head="classification")
    assert type(model).__name__ == "BertForSequenceClassification"
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("[PAD]", "right")


@pytest.mark.parametrize(("kind", "head"), [("gpt2", "classification"), ("gpt2_classifier", "generation")])
def test_a_saved_model_with_another_head_is_refused(tmp_path, kind, head):
    with pytest.raises(ValueError, match=rf"not for {head}: it is for another kind of task"):
        checkpoint.load(write(tmp_path / "model", kind), head=head)


@pytest.mark.parametrize(("kind", "name"), [("gpt2", "GPT2LMHeadModel"), ("t5", "T5ForConditionalGeneration")])
def test_a_pretrained_model_keeps_its_language_modelling_head(tmp_path, kind, name):
    folder = write(tmp_path / "model", kind)
    model, _ = checkpoint.load_pretrained(ModelConfig("mine", str(folder)), head="generation")
    again, _ = checkpoint.load(folder)
    assert type(model).__name__ == name
    assert torch.equal(model.get_output_embeddings().weight, again.get_output_embeddings().weight)


def test_a_decoder_gets_a_fresh_head_to_classify(tmp_path):
    folder = write(tmp_path / "model", "llama")
    model, _ = checkpoint.load_pretrained(ModelConfig("mine", str(folder)), ["no", "yes", "maybe"])
    assert type(model).__name__ == "LlamaForSequenceClassification"
    assert model.config.num_labels == 3
    assert model.config.pad_token_id == 3  # [SEP]


def test_half_precision_weights_are_loaded_in_fp32(tmp_path):
    folder = write(tmp_path / "model", "llama")
    LlamaForCausalLM.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    model, _ = checkpoint.load(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_an_encoder_cannot_generate(tmp_path):
    folder = toy.write_model(tmp_path / "model")
    with pytest.raises(ValueError, match="a bert model is an encoder and cannot generate: take a decoder such as"):
        checkpoint.load_pretrained(ModelConfig("mine", str(folder)), head="generation")


def test_a_model_without_path_is_one_clear_line():
    config = typed("finetune", compose("finetune", ["model=llama"])).model
    with pytest.raises(ValueError, match=r"model.path is empty: name a folder, a .gguf file or a model on the hub"):
        checkpoint.load_pretrained(config, head="generation")


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ({"model_type": "bert", "num_hidden_layers": 1}, "BertForSequenceClassification"),
        ({"model_type": "gpt2", **GPT2}, "GPT2LMHeadModel"),
        ({"model_type": "llama", **LLAMA}, "LlamaForCausalLM"),
        ({"model_type": "t5", **T5}, "T5ForConditionalGeneration"),
    ],
)
def test_random_weights_have_the_head_their_kind_is_made_for(shape, name):
    assert type(checkpoint.random_model(ModelConfig("mine", "", shape=shape), seed=0)).__name__ == name


def test_a_size_chooses_path_and_shape():
    config = typed("bench", compose("bench", ["model=flan_t5", "model.size=large"])).model
    assert config.path == "google/flan-t5-large"
    assert (config.shape["d_model"], config.shape["num_layers"], config.shape["num_heads"]) == (1024, 24, 16)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, value):
    good = toy.write_model(tmp_path / "model")
    model, tokenizer = checkpoint.load(good)
    before = (good / "model.safetensors").read_bytes()
    with torch.no_grad():
        model.classifier.weight[0, 0] = value
    with pytest.raises(ValueError, match=r"is not written: classifier\.weight is not finite"):
        checkpoint.save(model, tokenizer, good, CheckpointMetadata())
    assert (good / "model.safetensors").read_bytes() == before
    model.save_pretrained(good)
    with pytest.raises(ValueError, match=r"model cannot be used: classifier\.weight is not finite"):
        checkpoint.load(good)
