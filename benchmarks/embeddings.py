"""How fast a dial embeds documents, and how well, beside sentence-transformers, other runtimes and static embeddings.

    .venv/bin/latadj finetune task=sts task.data_dir=STS-B
    .venv/bin/latadj calibrate task=sts task.data_dir=STS-B
    .venv/bin/latadj export task=sts
    .venv/bin/latadj calibrate runtime=onnxruntime exported=outputs/minilm-sts/exported
    .venv/bin/python benchmarks/embeddings.py outputs/minilm-sts --sts STS-B --graphs outputs/minilm-sts/exported

The folder is that of a run: the plain model, and the checkpoint with a dial in this device's time. `--graphs` names any
number of exported folders, of either format and precision, each measured on this device. Speed is that of `encode` over
posts to newsgroups, or with `--timed sentences` over those of STS-B's dev pairs, sorted by length, all of them in
turns; a dial's speedups are of the texts that it was calibrated on. Quality is Spearman's correlation of cosines with
the scores of STS-B's dev pairs, times 100, and nDCG@10, times 100, of the posts that the first six words of each find;
the words are embedded at 1x, the posts at the dial's speedup.

The plain model reads all of a document, or its first 128 or 64 tokens alone. ONNX Runtime and OpenVINO run it as one
graph, its mean pooling in it; OpenVINO's int8 ranges are measured on sentences of the training pairs.
`--optimum-python` names a Python that has `sentence-transformers[onnx]`, whose own ONNX backend then takes part; it
cannot be installed beside latadj, since optimum-onnx needs an older transformers. `model2vec` distils static embeddings
of the plain model's vocabulary, where it is installed. Prints a table; JSON and a picture go to `--output`.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from embedding_backends import BASE, BATCH, EmbeddingBackend, Encode, backends
from scipy.stats import spearmanr

from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import speedup, time_interleaved
from latadj.config.compose import compose, typed
from latadj.devices.environment import environment
from latadj.tasks.metrics.cosines import cosines
from latadj.tasks.types import task_type_of
from latadj.tasks.types.base import TaskType

QUALITIES = {"spearman": "Spearman x 100, STS-B dev", "ndcg": "nDCG@10 x 100, newsgroups"}


def main() -> None:
    """Time and score every one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sts", type=Path, required=True, help="folder of STS-B's train.tsv and dev.tsv")
    parser.add_argument("--graphs", type=Path, nargs="*", default=[], help="exported folders")
    parser.add_argument("--optimum-python", type=Path, help="a Python with sentence-transformers[onnx]")
    parser.add_argument("--timed", choices=["posts", "sentences"], default="posts", help="what the clock is for")
    parser.add_argument("--documents", type=int, default=256, help="texts to time")
    parser.add_argument("--retrieval-documents", type=int, default=1000, help="posts to find; 0: no retrieval")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=900, help="seconds of the clock, at most")
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--precisions", nargs="*", default=["fp32", "int8"], help="of the checkpoint, in PyTorch")
    parser.add_argument("--output", type=Path, default=Path("outputs/embeddings"))
    options = parser.parse_args()
    train, dev = (pd.read_csv(options.sts / f"{name}.tsv", sep="\t", quoting=3) for name in ("train", "dev"))
    task_type, examples = _newsgroups()
    documents = _some(_posts(examples) if options.timed == "posts" else dev["sentence1"].tolist(), options.documents)
    found = _part(examples, options.retrieval_documents)
    compared = backends(options, train["sentence1"].tolist())
    print(f"{len(documents)} documents, {len(dev)} pairs, {', '.join(compared)}", flush=True)
    scores = {name: _scores(one, dev, task_type, found) for name, one in compared.items()}
    chunks = [documents[start : start + 2 * BATCH] for start in range(0, len(documents), 2 * BATCH)]
    work = {name: [partial(one.encode, chunk) for chunk in chunks] for name, one in compared.items()}
    with NoiseMonitor() as monitor:
        seconds = time_interleaved(
            work, rounds=options.rounds, warmup=1, device=torch.device("cpu"), budget_s=options.budget
        )
    rows = []
    for name, spent in seconds.items():
        gain = speedup(seconds[BASE], spent)
        rows.append(
            {
                "name": name,
                "ms_per_text": float(1e3 * np.median(spent.sum(axis=1)) / len(documents)),
                "over_sentence_transformers": [gain.median, gain.low, gain.high],
                **scores[name],
            }
        )
    quiet = monitor.report(seconds)
    result: dict[str, Any] = {
        "timed": options.timed,
        "rows": rows,
        "retrieval_documents": 0 if found is None else len(found) - sum(found["query"][:]),
        "environment": environment(torch.device("cpu"), "fp32"),
        "busy": quiet.__dict__,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "embeddings.json").write_text(json.dumps(result, indent=1, default=str))
    _table(rows)
    quality = "ndcg" if options.timed == "posts" and found is not None else "spearman"
    _picture(rows, quality, f"milliseconds for one of the {options.timed}", options.output / "embeddings.png", result)


def _newsgroups() -> tuple[TaskType, Dataset]:
    """Posts to newsgroups, and the words that ask for each."""
    config = typed("sweep", compose("sweep", ["task=newsgroups_retrieval", "checkpoint=none"]))
    task_type = task_type_of(config.task)  # type: ignore[attr-defined]
    return task_type, task_type.load(train=False).tests["test"]


def _posts(examples: Dataset) -> list[str]:
    return [text for text, query in zip(examples["text"], examples["query"], strict=True) if not query]


def _some(texts: Sequence[str], count: int) -> list[str]:
    """Some of the texts, the shortest first."""
    chosen = np.random.default_rng(0).permutation(len(texts))[:count]
    return sorted((texts[place] for place in chosen), key=len)


def _part(examples: Dataset, count: int) -> Dataset | None:
    """So many posts, and the queries that they answer; None of no posts."""
    if not count:
        return None
    queries = sum(examples["query"][:])
    chosen = np.random.default_rng(1).permutation(len(examples) - queries)[:count]
    places = {int(place): number for number, place in enumerate(chosen)}
    asking = [query for query, (place, _) in enumerate(examples["relevant"][:queries]) if place in places]
    part = examples.select([*asking, *(queries + place for place in places)])

    def moved(example: dict[str, Any]) -> dict[str, Any]:
        return {"relevant": [places[example["relevant"][0]], 1] if example["query"] else []}

    return part.map(moved, load_from_cache_file=False)


def _scores(one: EmbeddingBackend, pairs: pd.DataFrame, task_type: TaskType, found: Dataset | None) -> dict[str, float]:
    scores = {"spearman": _spearman(one.encode, pairs)}
    if found is None:
        return scores
    count = sum(found["query"][:])
    texts = found["text"][:]
    answers = np.concatenate([one.encode_queries(texts[:count]), one.encode(texts[count:])])
    ranked = task_type.predictions(answers, found, found)
    return {**scores, "ndcg": 100 * task_type.scores(ranked, found)["ndcg"]}


def _spearman(encode: Encode, pairs: pd.DataFrame) -> float:
    one, other = (encode(pairs[name].tolist()) for name in ("sentence1", "sentence2"))
    return float(100 * spearmanr(cosines(one, other), pairs["score"]).statistic)


def _table(rows: Sequence[dict[str, Any]]) -> None:
    print("| | ms a text | times sentence-transformers | Spearman x 100, STS-B dev | nDCG@10 x 100, newsgroups |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        gain, low, high = row["over_sentence_transformers"]
        found = f"{row['ndcg']:.2f}" if "ndcg" in row else "-"
        print(
            f"| {row['name']} | {row['ms_per_text']:.2f} | {gain:.2f} ({low:.2f} to {high:.2f}) | "
            f"{row['spearman']:.2f} | {found} |"
        )


def _picture(rows: Sequence[dict[str, Any]], quality: str, spent: str, path: Path, result: dict[str, Any]) -> None:
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    dials: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["name"].startswith("latadj"):
            dials.setdefault(row["name"].rsplit(" ", 1)[0], []).append(row)
    for name, ours in dials.items():
        points = [[row["ms_per_text"] for row in ours], [row[quality] for row in ours]]
        axes.plot(*points, "o-", label=f"{name}, one dial")
        for row in ours:
            label = row["name"].split()[-1]
            axes.annotate(label, (row["ms_per_text"], row[quality]), (4, 6), textcoords="offset points")
    for number, row in enumerate(row for row in rows if not row["name"].startswith("latadj")):
        look: dict[str, Any] = {
            "marker": "sDvP^X*p"[number % 8],
            "color": f"C{number + len(dials)}",
            "label": row["name"],
        }
        axes.plot([row["ms_per_text"]], [row[quality]], linestyle="", **look)
    axes.set_xscale("log")
    found = result["environment"]
    axes.set_xlabel(f"{spent}, {found['processor']}, {found['threads']} threads")
    axes.set_ylabel(QUALITIES[quality])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
