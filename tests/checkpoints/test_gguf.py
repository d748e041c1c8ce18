import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from latadj.checkpoints import checkpoint
from latadj.checkpoints.gguf import converted
from latadj.config import ModelConfig
from latadj.utils import hub

WIDTH, INNER, LAYERS = 64, 96, 2
LETTERS = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
TOKENS = ["<unk>", "<bos>", "<eos>", *LETTERS, "Ġ", "th", "the", "Ġthe"]
Q8 = gguf.GGMLQuantizationType.Q8_0


def write(path: Path, tied: bool = True, without: str = "", seed: int = 0) -> Path:
    """A tiny Llama of random weights, its matrices in 8 bits."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(32)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(1000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, *[1] * (len(TOKENS) - 3)])
    writer.add_token_merges(["t h", "th e", "Ġ the"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    if not tied:
        shapes["output"] = (len(TOKENS), WIDTH)
    for layer in range(LAYERS):
        inside = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_q": (64, WIDTH), "attn_output": (WIDTH, 64)}
        inside |= {"attn_k": (32, WIDTH), "attn_v": (32, WIDTH), "ffn_down": (WIDTH, INNER)}
        inside |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in inside.items()}
    for name, shape in shapes.items():
        weights = rng.normal(0, 0.3, shape).astype(np.float32)
        if name == without:
            continue
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", weights + 1)
        else:
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weights, Q8), raw_dtype=Q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATADJ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_is_bit_for_bit_the_model_that_transformers_reads(tmp_path, tied):
    path = write(tmp_path / "tiny.gguf", tied)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32).eval()
    model = AutoModelForCausalLM.from_pretrained(converted(path)).eval()
    ids = torch.randint(3, len(TOKENS), (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model(ids).logits, plain(ids).logits
    assert torch.equal(ours, theirs)
    assert ours.std() > 0.1
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    assert model.config.tie_word_embeddings == tied
    assert not hasattr(model.config, "quantization_config")
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_weights_are_those_of_the_file(tmp_path):
    path = write(tmp_path / "tiny.gguf")
    stored = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == "token_embd.weight")
    model = AutoModelForCausalLM.from_pretrained(converted(path))
    assert np.array_equal(model.model.embed_tokens.weight.detach().numpy(), gguf.quants.dequantize(stored.data, Q8))


def test_the_tokenizer_is_that_of_the_file(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(converted(write(tmp_path / "tiny.gguf")))
    ids = tokenizer("do the hat", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["d", "o", "Ġthe", "Ġ", "h", "a", "t"]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<bos>", "<eos>")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False) == "the"


def test_a_file_is_converted_once_and_anew_when_it_changed(tmp_path, cache, caplog):
    path = write(tmp_path / "tiny.gguf")
    with caplog.at_level("INFO", logger="latadj"):
        first = converted(path)
        made = (first / "model.safetensors").stat().st_mtime_ns
        assert converted(path) == first
        assert (first / "model.safetensors").stat().st_mtime_ns == made
    assert caplog.text.count("converting tiny.gguf, once: about 20 s") == 1
    assert first.parent == cache / "gguf"
    stamp = path.stat().st_mtime_ns
    write(path, seed=1)
    os.utime(path, ns=(stamp + 1, stamp + 1))
    second = converted(path)
    assert second != first
    assert (second / "model.safetensors").read_bytes() != (first / "model.safetensors").read_bytes()


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_one_clear_line(tmp_path, cache, keep):
    path = write(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ValueError, match=r"tiny.gguf: this GGUF file cannot be read, it may be damaged") as error:
        converted(path)
    assert "\n" not in str(error.value)
    assert not list((cache / "gguf").glob("tiny-*/"))


def test_a_file_that_lacks_weights_is_refused(tmp_path):
    path = write(tmp_path / "tiny.gguf", without="blk.1.ffn_up")
    with pytest.raises(ValueError, match=r"incomplete, it has no weights for model.layers.1.mlp.up_proj.weight"):
        converted(path)


def test_a_failure_leaves_nothing_behind(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "tiny.gguf")

    def fail(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("transformers.PreTrainedTokenizerBase.save_pretrained", fail)
        with pytest.raises(OSError, match="disk full"):
            converted(path)
    assert [found.suffix for found in (cache / "gguf").iterdir() if found.is_dir()] == []
    assert (converted(path) / "tokenizer.json").is_file()


def test_a_model_path_may_be_a_gguf_file(tmp_path):
    path = write(tmp_path / "tiny.gguf")
    assert hub.model_source(str(path)) == (str(path), True)
    model, tokenizer = checkpoint.load_pretrained(ModelConfig("tiny", str(path)), head="generation")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert (tokenizer.pad_token, tokenizer.padding_side, model.config.pad_token_id) == ("<eos>", "left", 2)
    shape = checkpoint.random_model(ModelConfig("tiny", str(path)), seed=0)
    assert (type(shape).__name__, shape.config.num_hidden_layers) == ("LlamaForCausalLM", LAYERS)


def test_a_path_that_only_looks_like_gguf_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model.path=.*none.gguf: no such file"):
        hub.model_source(str(tmp_path / "none.gguf"))
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ValueError, match=r"text.gguf: this is no GGUF file"):
        hub.model_source(str(tmp_path / "text.gguf"))


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    path = write(tmp_path / "tiny.gguf")
    monkeypatch.delenv("LATADJ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folder = converted(path)
    assert folder.parent == tmp_path / "xdg" / "latadj" / "gguf"
    shutil.rmtree(folder)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert converted(path).parent == tmp_path / "home" / ".cache" / "latadj" / "gguf"


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF" + bytes(100), b"GGUF\x03\x00\x00\x00" + b"\xff" * 200])
def test_a_file_that_only_begins_as_gguf_is_one_clear_line(tmp_path, content):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tiny.gguf: this GGUF file cannot be read, .*; copy it anew") as error:
        converted(path)
    assert "\n" not in str(error.value)
