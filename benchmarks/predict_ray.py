"""What `latadj predict engine=ray` keeps of its promises: each row once, whatever dies, two workers in half the time.

Run alone on a machine with two cores:

    .venv/bin/python benchmarks/predict_ray.py --rows 1000000

It makes short texts and a tiny classifier (random weights: what is measured is Ray and the files, not the model),
starts a Ray cluster of two nodes with one CPU each, and runs the command on it: with one actor, with two, with two of
which one is killed halfway, and with two of which a node is killed halfway, each on a cluster of its own. All outputs
are compared, row by row. Prints a Markdown table; ``--json FILE`` keeps it. The last lines are the memory of the
command's own process over a tenth of the rows and over all.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import torch
from pyarrow import dataset, parquet
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

WORDS = [f"word{number}" for number in range(200)]
FILES = 10
MEMORY = 200 * 2**20  # of each node's object store, through which only places of blocks go


@dataclass
class Run:
    """What one run of the command took, and left.

    steady_per_s : texts a second once each actor has written a block, up to the last
    peak_mib : memory of the command's own process, not of the actors
    """

    name: str
    rows: int
    blocks: int
    seconds: float
    texts_per_s: float
    steady_per_s: float
    peak_mib: float


def write_model(folder: Path) -> Path:
    """A BERT of two layers with random weights, as transformers saves it."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(WORDS) + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertForSequenceClassification(shape).save_pretrained(folder)
    return folder


def write_texts(folder: Path, rows: int) -> Path:
    """Texts of 3 to 20 words in Parquet files, with a number that says which each is."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    for number in range(FILES):
        own = range(number * rows // FILES, (number + 1) * rows // FILES)
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(3, 20))) for _ in own]
        parquet.write_table(pa.table({"number": own, "text": texts}), folder / f"{number}.parquet", row_group_size=8192)
    return folder


@contextmanager
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": MEMORY})
    try:
        made.add_node(num_cpus=1, object_store_memory=MEMORY)
        yield made
    finally:
        made.shutdown()


def kill_actor(made: Any) -> None:
    """Kill one of the actors."""
    actors = [one for one in psutil.Process().children(recursive=True) if "ray::MapWorker" in " ".join(one.cmdline())]
    os.kill(actors[0].pid, signal.SIGKILL)


def kill_node(made: Any) -> None:
    """Kill the node that is not the head, with all its processes."""
    (node,) = (one for one in made.list_all_nodes() if not one.is_head())
    made.remove_node(node, allow_graceful=False)


def measure(
    name: str, root: Path, texts: Path, block_rows: int, actors: int, halfway: Callable[[Any], None] | None = None
) -> Run:
    """Run the command on a cluster of its own.

    Parameters
    ----------
    halfway : is called with the cluster once half of the blocks are there
    """
    output = root / name
    with cluster() as made:
        command = [
            *(sys.executable, "-m", "latadj", "predict", "engine=ray", f"input={texts}", f"output={output}"),
            *(f"checkpoint={root / 'model'}", f"folder={root / 'runs' / name}", "text=text", "device.name=cpu"),
            *("device.threads=1", "batch_size=64", f"ray.address={made.address}", f"ray.actors={actors}"),
            f"ray.block_rows={block_rows}",
        ]
        start, peak = time.perf_counter(), 0
        blocks = sum(-(-parquet.read_metadata(one).num_rows // block_rows) for one in texts.iterdir())
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            driver = psutil.Process(process.pid)
            while process.poll() is None:
                peak = max(peak, driver.memory_info().rss if driver.status() != psutil.STATUS_ZOMBIE else 0)
                if halfway is not None and len(list(output.glob("part-*"))) >= blocks / 2:
                    halfway(made)
                    halfway = None
                time.sleep(0.2)
            errors = process.stderr.read() if process.stderr else ""
        if process.returncode:
            raise SystemExit(f"{name}: the command ended with {process.returncode}: {errors[-2000:]}")
        if halfway is not None:
            raise SystemExit(f"{name}: it ended before half of its blocks were seen: take more rows")
        seconds = time.perf_counter() - start
    result = json.loads((root / "runs" / name / "predict" / "predict.json").read_text())
    times = sorted((one.stat().st_mtime, parquet.read_metadata(one).num_rows) for one in output.glob("part-*"))
    # Each actor's first block began at a time that nobody wrote down.
    after_first = sum(rows for _, rows in times[actors:]) / max(times[-1][0] - times[actors - 1][0], 1e-9)
    rows = result["rows"]["written"]
    return Run(name, rows, len(times), seconds, rows / seconds, after_first, peak / 2**20)


def answers(folder: Path) -> pa.Table:
    """All that was written, in the order of the input."""
    return dataset.dataset(folder, format="parquet").to_table().sort_by("number")


def check(root: Path, name: str, rows: int, undisturbed: pa.Table | None) -> pa.Table:
    """The answers of a run: one to each row, and those of the undisturbed run."""
    found = answers(root / name)
    if found["number"].to_pylist() != list(range(rows)):
        raise SystemExit(f"{name}: {len(found)} rows were written of {rows}, or some twice")
    if undisturbed is not None and not found.equals(undisturbed):
        raise SystemExit(f"{name}: its answers are not those of the undisturbed run")
    return found


def main() -> None:
    """Run all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--block-rows", type=int, default=8192)
    parser.add_argument("--only", nargs="*", help="names of runs, of which one-actor comes first")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    plans: dict[str, tuple[int, Callable[[Any], None] | None]] = {
        "one-actor": (1, None),
        "two-actors": (2, None),
        "actor-killed": (2, kill_actor),
        "node-killed": (2, kill_node),
    }
    made: list[Run] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_model(root / "model")
        texts, undisturbed = write_texts(root / "texts", options.rows), None
        print("| run | rows | blocks | s | texts/s | texts/s once running | command's peak MiB |")
        print("|" + " --- |" * 7)
        for name in options.only or plans:
            one = measure(name, root, texts, options.block_rows, *plans[name])
            undisturbed = check(root, name, options.rows, undisturbed)
            made.append(one)
            print(
                f"| {one.name} | {one.rows:,} | {one.blocks} | {one.seconds:.1f} | {one.texts_per_s:,.0f} "
                f"| {one.steady_per_s:,.0f} | {one.peak_mib:.0f} |",
                flush=True,
            )
        rates = {one.name: one.steady_per_s for one in made}
        if rates.keys() >= {"one-actor", "two-actors"}:
            print(f"\ntwo actors over one, once running: {rates['two-actors'] / rates['one-actor']:.2f}")
            few = measure("a-tenth", root, write_texts(root / "few", options.rows // 10), options.block_rows, 2)
            made.append(few)
            for one in (few, made[list(rates).index("two-actors")]):
                print(f"the command's peak over {one.rows:,} rows: {one.peak_mib:.0f} MiB")
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in made], indent=1) + "\n")


if __name__ == "__main__":
    main()
