"""What `embeddings.py` compares: each embeds texts, sorted by length as `encode` of sentence-transformers does."""

import json
import subprocess
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

import latadj
from latadj.benchmark.backends import build
from latadj.benchmark.peer_graphs import OUTPUT, fp32_graph, openvino_int8
from latadj.checkpoints import checkpoint
from latadj.config import DeviceConfig
from latadj.elimination.attach import as_plain, dial_of
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.inference.graph_folder import check_graphs, graphs_need_clock
from latadj.inference.graph_model import load_graphs
from latadj.runtime.sessions import openvino_session
from latadj.tasks.encoding.batches import pad, tokenize
from latadj.utils.quiet import quiet

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
BATCH, TOKENS = 32, 256
# What anybody may do to be faster: read the beginning of a document alone.
FIRST_TOKENS = (128, 64)
BASE = "sentence-transformers fp32"
PEERS = ("onnxruntime_fp32", "onnxruntime_int8", "openvino_fp32")
RANGES = 32  # batches over which NNCF measures them
Encode = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class EmbeddingBackend:
    """How documents are embedded, and the queries that look for them: those at 1x, whatever the documents."""

    encode: Encode
    encode_queries: Encode


def backends(options: Namespace, sentences: Sequence[str]) -> dict[str, EmbeddingBackend]:
    """All of them by name, the base first.

    Parameters
    ----------
    options : of the command line
    sentences : over which int8 ranges are measured
    """
    return dict(_all(options, sentences))


def _all(options: Namespace, sentences: Sequence[str]) -> Iterator[tuple[str, EmbeddingBackend]]:
    threads, made = torch.get_num_threads(), options.output / "graphs"
    plain = SentenceTransformer(str(options.folder / "plain"), device="cpu", local_files_only=True)
    plain.max_seq_length = TOKENS
    yield BASE, _alike(partial(_encode, plain))
    for tokens in FIRST_TOKENS:
        yield f"{BASE}, first {tokens} tokens", _alike(partial(_encode_beginnings, plain, tokens))
    for precision in options.precisions:
        model = latadj.load(options.folder / "checkpoint", precision=precision)
        if dial_of(model).latency is None:
            raise SystemExit(f"the checkpoint was not calibrated on this device in {precision}")
        yield from _along_dial(f"latadj {precision}", model, options.speedups)
    for folder in options.graphs:
        yield from _along_dial(*_graphs(folder, threads), options.speedups)
    transformer, tokenizer = checkpoint.load(options.folder / "plain", head="embedding")
    # A module that was just made is in training mode, which no backend takes.
    pooled = Pooled(as_plain(transformer)).eval()
    made.mkdir(parents=True, exist_ok=True)
    runs = {name: build(name, pooled, made, threads, inputs=INPUTS) for name in PEERS}
    session = openvino_session(_openvino_int8(pooled, tokenizer, sentences, made), threads)
    runs["openvino_int8"] = lambda batch: session.run([OUTPUT], {name: one.numpy() for name, one in batch.items()})[0]
    for name, run in runs.items():
        yield name.replace("_", " "), _alike(partial(_by_graph, run, tokenizer))
    if options.optimum_python is not None:
        for precision in ("fp32", "int8"):
            backend = OnnxBackend(options.optimum_python, options.folder / "plain", made, precision, threads)
            yield f"sentence-transformers ONNX {precision}", _alike(backend)
    if find_spec("model2vec") is not None:
        yield "static embeddings (model2vec)", _alike(_static(transformer, tokenizer))


class Pooled(nn.Module):
    """The plain model and its mean pooling, as the classifier that a runtime is given."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.device, self.dtype = model.device, model.dtype

    def set_attn_implementation(self, name: str) -> None:
        self.model.set_attn_implementation(name)

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> SimpleNamespace:
        hidden = self.model(input_ids, attention_mask, token_type_ids).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        return SimpleNamespace(logits=(hidden * mask).sum(1) / mask.sum(1))


class OnnxBackend:
    """The ONNX backend of sentence-transformers, in an environment of its own: see sentence_transformers_peer.py."""

    def __init__(self, python: Path, model: Path, folder: Path, precision: str, threads: int) -> None:
        script = Path(__file__).with_name("sentence_transformers_peer.py")
        target = folder / f"sentence-transformers-{precision}"
        numbers = map(str, (TOKENS, BATCH, threads))
        self.command = [str(python), str(script), str(model), str(target), precision, *numbers]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self(["a text, so that it is loaded"])

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        asked, answered = self.process.stdin, self.process.stdout
        assert asked is not None and answered is not None
        asked.write(json.dumps(list(texts)).encode() + b"\n")
        asked.flush()
        line = answered.readline()
        if not line:
            raise SystemExit(f"{self.command}: it ended before it answered")
        shape = json.loads(line)
        return np.frombuffer(answered.read(4 * int(np.prod(shape))), dtype=np.float32).reshape(shape)


def _alike(encode: Encode) -> EmbeddingBackend:
    return EmbeddingBackend(encode, encode)


def _along_dial(name: str, model: Any, speedups: Sequence[float]) -> Iterator[tuple[str, EmbeddingBackend]]:
    """A model at each speedup that its dial reaches."""
    model.max_seq_length = TOKENS
    for one in speedups:
        if one > dial_of(model).reach():
            print(f"{name} does not reach {one:g}x, and is left out there", flush=True)
            continue
        yield f"{name} {one:g}x", EmbeddingBackend(partial(_at, model, one), partial(_at, model, 1.0))


def _graphs(folder: Path, threads: int) -> tuple[str, Any]:
    """The name of an exported folder's runtime and precision, and its model on so many threads."""
    metadata = check_graphs(folder, DeviceConfig(precision="auto"), "embed")
    model, _ = load_graphs(folder, metadata, threads=threads)
    pipeline, predictor = pipeline_of(model), model.predictor
    if pipeline is None:
        raise SystemExit(f"the graphs of {folder} do not embed texts")
    if dial_of(model).latency is None:
        raise SystemExit(graphs_need_clock(folder, predictor.manifest, threads))
    return f"latadj {predictor.runtime} {predictor.manifest.precision}", pipeline


def _encode(model: Any, texts: Sequence[str]) -> np.ndarray:
    return np.asarray(model.encode(list(texts), batch_size=BATCH))


def _encode_beginnings(model: Any, tokens: int, texts: Sequence[str]) -> np.ndarray:
    model.max_seq_length = tokens
    try:
        return _encode(model, texts)
    finally:
        model.max_seq_length = TOKENS


def _at(model: Any, speedup: float, texts: Sequence[str]) -> np.ndarray:
    with latadj.at_speedup(model, speedup):
        return _encode(model, texts)


def _by_graph(run: Callable[[Any], Any], tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    order = np.argsort([len(text) for text in texts], kind="stable")
    vectors: list[Any] = [None] * len(texts)
    for start in range(0, len(texts), BATCH):
        places = order[start : start + BATCH]
        batch = _batch(tokenizer, [texts[place] for place in places])
        for place, vector in zip(places, np.asarray(run(batch)), strict=True):
            vectors[place] = vector
    return np.stack(vectors)


def _batch(tokenizer: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    batch = pad(tokenize([texts], tokenizer, TOKENS), tokenizer)
    return {**batch, "token_type_ids": torch.zeros_like(batch["input_ids"])}


def _openvino_int8(pooled: Any, tokenizer: Any, sentences: Sequence[str], folder: Path) -> Path:
    """The plain model with int8 weights and activations, by ranges on real sentences."""
    import openvino

    batches = [
        {name: one.numpy() for name, one in _batch(tokenizer, sentences[BATCH * place :][:BATCH]).items()}
        for place in range(RANGES)
    ]
    quantized = openvino_int8(openvino.Core().read_model(fp32_graph(pooled, INPUTS, folder)), batches)
    openvino.save_model(quantized, folder / "int8.xml", compress_to_fp16=False)
    return folder / "int8.xml"


def _static(transformer: Any, tokenizer: Any) -> Encode:
    from model2vec.distill import distill_from_model

    with quiet():
        model = distill_from_model(model=transformer, tokenizer=tokenizer, pca_dims=256)
    return lambda texts: np.asarray(model.encode(list(texts)))
