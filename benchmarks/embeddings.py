"""How fast a dial embeds documents, and how well, beside sentence-transformers, other runtimes and static embeddings.

    .venv/bin/latadj finetune task=sts task.data_dir=STS-B
    .venv/bin/latadj calibrate task=sts task.data_dir=STS-B
    .venv/bin/python benchmarks/embeddings.py outputs/minilm-sts --sts STS-B

The folder is that of a run: the plain model, and the checkpoint with a dial in this device's time. Speed is that of
`encode` over posts to newsgroups, sorted by length, all of them in turns; quality is Spearman's correlation of
cosines with the scores of STS-B's dev pairs, times 100. ONNX Runtime and OpenVINO run the plain model as one graph, its
mean pooling in it; OpenVINO's int8 ranges are measured on sentences of the training pairs. `model2vec` distils static
embeddings of the plain model's vocabulary, where it is installed. Prints a table; JSON and a picture go to `--output`.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn

import latadj
from latadj.benchmark.backends import build
from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.peer_graphs import OUTPUT, fp32_graph, openvino_int8
from latadj.benchmark.timer import speedup, time_interleaved
from latadj.checkpoints import checkpoint
from latadj.config.compose import compose, typed
from latadj.devices.environment import environment
from latadj.elimination.attach import as_plain, dial_of
from latadj.runtime.sessions import openvino_session
from latadj.tasks.encoding.batches import pad, tokenize
from latadj.tasks.metrics.cosines import cosines
from latadj.tasks.types import task_type_of
from latadj.utils.quiet import quiet

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
BATCH, TOKENS = 32, 256
BASE = "sentence-transformers fp32"
PEERS = ("onnxruntime_fp32", "onnxruntime_int8", "openvino_fp32")
RANGES = 32  # batches over which NNCF measures them
Encode = Callable[[Sequence[str]], np.ndarray]


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


def main() -> None:
    """Time and score every one of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sts", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--output", type=Path, default=Path("outputs/embeddings"))
    options = parser.parse_args()
    train, dev = (pd.read_csv(options.sts / f"{name}.tsv", sep="\t", quoting=3) for name in ("train", "dev"))
    documents = _documents(options.documents)
    encoders = _encoders(options, train["sentence1"].tolist())
    print(f"{len(documents)} documents, {len(dev)} pairs, {', '.join(encoders)}", flush=True)
    scores = {name: _spearman(encode, dev) for name, encode in encoders.items()}
    chunks = [documents[start : start + 2 * BATCH] for start in range(0, len(documents), 2 * BATCH)]
    work = {name: [partial(encode, chunk) for chunk in chunks] for name, encode in encoders.items()}
    with NoiseMonitor() as monitor:
        seconds = time_interleaved(work, rounds=options.rounds, warmup=1, device=torch.device("cpu"), budget_s=900)
    rows = []
    for name, spent in seconds.items():
        gain = speedup(seconds[BASE], spent)
        rows.append(
            {
                "name": name,
                "ms_per_document": float(1e3 * np.median(spent.sum(axis=1)) / len(documents)),
                "over_sentence_transformers": [gain.median, gain.low, gain.high],
                "spearman": scores[name],
            }
        )
    quiet = monitor.report(seconds)
    result: dict[str, Any] = {
        "rows": rows,
        "environment": environment(torch.device("cpu"), "fp32"),
        "busy": quiet.__dict__,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "embeddings.json").write_text(json.dumps(result, indent=1, default=str))
    _table(rows)
    _picture(rows, options.output / "embeddings.png", result["environment"])


def _documents(count: int) -> list[str]:
    """Posts to newsgroups, the shortest first."""
    config = typed("sweep", compose("sweep", ["task=newsgroups_retrieval", "checkpoint=none"]))
    task = config.task  # type: ignore[attr-defined]
    examples = task_type_of(task).load(train=False).tests["test"]
    posts = [text for text, query in zip(examples["text"], examples["query"], strict=True) if not query]
    chosen = np.random.default_rng(0).permutation(len(posts))[:count]
    return sorted((posts[place] for place in chosen), key=len)


def _encoders(options: argparse.Namespace, sentences: Sequence[str]) -> dict[str, Encode]:
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(options.folder / "plain"), device="cpu", local_files_only=True)
    plain.max_seq_length = TOKENS
    found: dict[str, Encode] = {BASE: lambda texts: np.asarray(plain.encode(list(texts), batch_size=BATCH))}
    for precision in options.precisions:
        model = latadj.load(options.folder / "checkpoint", precision=precision)
        model.max_seq_length = TOKENS
        if dial_of(model).latency is None:
            raise SystemExit(f"the checkpoint was not calibrated on this device in {precision}")
        for one in options.speedups:
            found[f"latadj {precision} {one:g}x"] = partial(_at, model, one)
    transformer, tokenizer = checkpoint.load(options.folder / "plain", head="embedding")
    # A module that was just made is in training mode, which no backend takes.
    pooled, made = Pooled(as_plain(transformer)).eval(), options.output / "graphs"
    made.mkdir(parents=True, exist_ok=True)
    runs = {name: build(name, pooled, made, torch.get_num_threads(), inputs=INPUTS) for name in PEERS}
    session = openvino_session(_openvino_int8(pooled, tokenizer, sentences, made), torch.get_num_threads())
    runs["openvino_int8"] = lambda batch: session.run([OUTPUT], {name: one.numpy() for name, one in batch.items()})[0]
    found |= {name.replace("_", " "): partial(_by_graph, run, tokenizer) for name, run in runs.items()}
    if find_spec("model2vec") is not None:
        found["static embeddings (model2vec)"] = _static(transformer, tokenizer)
    return found


def _at(model: Any, speedup: float, texts: Sequence[str]) -> np.ndarray:
    with latadj.at_speedup(model, speedup):
        return np.asarray(model.encode(list(texts), batch_size=BATCH))


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


def _spearman(encode: Encode, pairs: pd.DataFrame) -> float:
    one, other = (encode(pairs[name].tolist()) for name in ("sentence1", "sentence2"))
    return float(100 * spearmanr(cosines(one, other), pairs["score"]).statistic)


def _table(rows: Sequence[dict[str, Any]]) -> None:
    print("| | ms a document | times sentence-transformers | Spearman x 100, STS-B dev |")
    print("| --- | ---: | ---: | ---: |")
    for row in rows:
        gain, low, high = row["over_sentence_transformers"]
        print(
            f"| {row['name']} | {row['ms_per_document']:.2f} | {gain:.2f} ({low:.2f} to {high:.2f}) | "
            f"{row['spearman']:.2f} |"
        )


def _picture(rows: Sequence[dict[str, Any]], path: Path, found: dict[str, Any]) -> None:
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for precision, colour in (("fp32", "C0"), ("int8", "C1")):
        ours = [row for row in rows if row["name"].startswith(f"latadj {precision}")]
        points = [[row["ms_per_document"] for row in ours], [row["spearman"] for row in ours]]
        axes.plot(*points, "o-", color=colour, label=f"latadj, one dial, {precision}")
        for row in ours:
            label = row["name"].split()[-1]
            axes.annotate(label, (row["ms_per_document"], row["spearman"]), (4, 6), textcoords="offset points")
    for number, row in enumerate(row for row in rows if not row["name"].startswith("latadj")):
        look: dict[str, Any] = {"marker": "sDvP^X"[number % 6], "color": f"C{number + 2}", "label": row["name"]}
        axes.plot([row["ms_per_document"]], [row["spearman"]], linestyle="", **look)
    axes.set_xscale("log")
    axes.set_xlabel(f"milliseconds a document, {found['processor']}, {found['threads']} threads")
    axes.set_ylabel("Spearman x 100, STS-B dev")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
