"""Folders as they are found, each refused in one line that names the folder, the cause and what to do."""

import json

import pytest
from helpers import toy_project as toy

from latadj.checkpoints import checkpoint
from latadj.config import ModelConfig

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def folder(tmp_path):
    return toy.write_model(tmp_path / "model", layers=1)


def change(name, **values):
    def damage(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def index(text):
    def damage(folder):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(text)

    return damage


CONFIG = "its config.json may be cut short or damaged"
WEIGHTS = "its weights may be cut short or damaged"
TOKENIZER = "its tokenizer may be cut short or damaged"
FOUND = {
    "bitsandbytes": (
        change("config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        r"has quantized weights, and they cannot be read here .*device.precision=int8 quantizes it",
    ),
    "gptq": (
        change("config.json", quantization_config={"quant_method": "gptq", "bits": 4, "dataset": "c4"}),
        "has quantized weights, and they cannot be read here .*: name a folder of the same model with fp32",
    ),
    "quantization as a list": (change("config.json", quantization_config=[]), CONFIG),
    "attention": (
        change("config.json", attn_implementation="flash_attention_2"),
        r"asks for an attention that is not installed .*: remove attn_implementation from its config.json",
    ),
    "no layers": (change("config.json", num_hidden_layers=None), f"{CONFIG}: .*'num_hidden_layers' expected int"),
    "layers that fill the memory": (
        change("config.json", num_hidden_layers=10**9),
        "num_hidden_layers=1000000000: expected at most 1,024; ",
    ),
    "labels that fill the memory": (
        change("config.json", num_labels=10**9),
        "num_labels=1000000000: expected at most 1,048,576; ",
    ),
    "heads below none": (
        change("config.json", num_attention_heads=-1),
        "num_attention_heads=-1: expected at least 1; ",
    ),
    "no heads": (change("config.json", num_attention_heads=0), "num_attention_heads=0: expected at least 1; "),
    "a width that is no number": (
        change("config.json", hidden_size=float("nan")),
        "hidden_size=nan: expected at most 1,048,576; ",
    ),
    "dropout that is no number": (
        change("config.json", hidden_dropout_prob=float("nan")),
        "hidden_dropout_prob=nan: expected a number from 0",
    ),
    "dropout of 1000": (
        change("config.json", attention_probs_dropout_prob=1000),
        "=1000: expected a number from 0 to 1; ",
    ),
    "a switch as text": (change("config.json", output_hidden_states="x"), "output_hidden_states='x': expected true or"),
    "tuples": (change("config.json", return_dict=False), f"{CONFIG}: return_dict=False: expected true; remove it"),
    "labels as a list": (change("config.json", id2label=["a", "b"]), CONFIG),
    "no names of classes": (change("config.json", architectures=[3]), rf"{CONFIG}: architectures=\[3\]: expected a"),
    "padding out of range": (change("config.json", pad_token_id=10**9), WEIGHTS),
    "an activation": (change("config.json", hidden_act="new"), f"{WEIGHTS}: KeyError: 'new'"),
    "null config": (write("config.json", "null"), "config.json: expected an object, got NoneType"),
    "deep config": (write("config.json", DEEP), r"damaged or was cut short \(it is nested more than 64 deep"),
    "null index": (index("null"), WEIGHTS),
    "deep index": (index(DEEP), WEIGHTS),
    "index without a map": (index('{"weight_map": null}'), WEIGHTS),
    "newer tokenizer": (
        change("tokenizer.json", pre_tokenizer={"type": "Newer"}),
        r"of a newer format than the installed tokenizers package reads .* `pip install --upgrade transformers",
    ),
    "a special token of its own": (
        change("tokenizer_config.json", cls_token="<start>"),
        f"{TOKENIZER}: it has a token 22, and the model knows 0 to 21: it is another model's",
    ),
    "no token for unknown words": (change("tokenizer_config.json", unk_token=None), "Missing .UNK. token"),
    "null tokenizer": (write("tokenizer.json", "null"), TOKENIZER),
    "deep tokenizer": (write("tokenizer.json", DEEP), TOKENIZER),
    "tokenizer config as a list": (write("tokenizer_config.json", "[]"), TOKENIZER),
    "padding token": (change("tokenizer_config.json", pad_token=1), f"{TOKENIZER}: Special token pad_token has to be"),
    "length -1": (change("tokenizer_config.json", model_max_length=-1), "model_max_length=-1 .*at least 1"),
    "length 0": (change("tokenizer_config.json", model_max_length=0), "model_max_length=0 .*at least 1"),
    "length x": (change("tokenizer_config.json", model_max_length="x"), "model_max_length='x' .*at least 1"),
    "length true": (change("tokenizer_config.json", model_max_length=True), "model_max_length=True .*at least 1"),
}


@pytest.mark.parametrize("damage", FOUND)
def test_a_folder_that_cannot_be_loaded_is_one_line(folder, damage):
    make, message = FOUND[damage]
    make(folder)
    with pytest.raises(ValueError, match=message) as error:
        checkpoint.load(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=str(folder)) as error:
        checkpoint.load_pretrained(ModelConfig("toy", str(folder)), ["a", "b"])
    assert "\n" not in str(error.value)


def test_a_class_that_is_left_out_is_named(folder):
    change("config.json", id2label={"0": "a", "7": "b"})(folder)
    with pytest.raises(ValueError, match=r"id2label names the classes \[0, 7\]: expected 0, 1, 2 and so on"):
        checkpoint.load(folder)
    checkpoint.load_pretrained(ModelConfig("toy", str(folder)), ["a", "b"])  # which gets labels of its own


@pytest.mark.parametrize(("length", "read"), [(1e30, int(1e30)), (16.0, 16)])
def test_a_length_may_have_decimals(folder, length, read):
    change("tokenizer_config.json", model_max_length=length)(folder)
    assert repr(checkpoint.load(folder)[1].model_max_length) == repr(read)


@pytest.mark.parametrize("shape", [{"num_hidden_layers": "x"}, {"hidden_act": "new"}, {"pad_token_id": 10**9}])
def test_a_shape_that_makes_no_model_is_one_line(shape):
    with pytest.raises(ValueError, match=r"model.shape=.*transformers makes no model of it") as error:
        checkpoint.random_model(ModelConfig("random", "none", shape={"model_type": "bert", **shape}), seed=0)
    assert "\n" not in str(error.value)
