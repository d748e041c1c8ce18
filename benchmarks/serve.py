"""How many answers come in time, and how good they are, as more and more is asked of `latadj serve`.

Run alone on a quiet machine, with a checkpoint that `latadj calibrate` measured on it:

    .venv/bin/python benchmarks/serve.py outputs/minilm-rotten_tomatoes/checkpoint --threads 1

Folders that `latadj export` wrote, and other checkpoints, are served beside it with --beside, or take its place. With
--infinity PYTHON, the interpreter of an environment that has `infinity-emb`, that server takes its turn too.

The load is open: requests of one test text each come when they come, whether or not those before were answered, as a
Poisson process and as bursts (three times the load for a sixth of the time). Loads are multiples of what the full model
answers in a second one text at a time, and the deadline is three times its median. Variants are the same server with
its dial fixed at 1x, with the dial turned by load, and so with a point lost on validation text at most, in turns. What
is turned away or answered late is not in time. Accuracy is that of all answers given, and points lost are below the
checkpoint's full model. Prints a Markdown table, and writes JSON and a picture.
"""

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from serve_load import (
    INFINITY,
    LATADJ,
    PERIOD_S,
    Dialect,
    Reply,
    arrival_times,
    full_model,
    infinity,
    replies,
    served,
    test_texts,
)

from latadj.benchmark.noise import NoiseMonitor
from latadj.devices.environment import environment
from latadj.reporting.plots import BLUE, GREEN, GREY, new_figure, save
from latadj.reporting.table import Column, Table
from latadj.runtime.manifest import Manifest, is_exported
from latadj.utils.files import write_json

SCHEMA = "latadj.serve-benchmark/1"
DIALS = {
    "fixed at 1x": ["policy=fixed", "speedup=1", "max_drop=null"],
    "dial": ["policy=slack", "max_drop=null"],
    "dial, max_drop=1": ["policy=slack", "max_drop=1"],
}


@dataclass
class Row:
    """One variant at one load.

    load : over what the full model answers
    in_time, shed, late : shares of all requests
    accuracy, lost, speedup, p50_ms, p99_ms : of the answers; points lost are below the full model on the same texts
    """

    variant: str
    arrivals: str
    load: float
    requests: int
    in_time: float
    shed: float
    late: float
    errors: int
    accuracy: float
    lost: float
    speedup: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Variant:
    """A server.

    folder : that it serves
    choices : its options; None: it is Infinity
    """

    name: str
    folder: Path
    choices: Sequence[str] | None


def variants_of(options: argparse.Namespace) -> list[Variant]:
    """The dial of the checkpoint three ways, that of each other folder, and Infinity."""
    found = [Variant(name, options.checkpoint, choices) for name, choices in DIALS.items()]
    for folder in options.beside:
        found += [Variant(f"{_name(folder)}, {name}", folder, choices) for name, choices in DIALS.items()]
    if len({one.name for one in found}) < len(found):
        raise SystemExit("--beside: two folders of one name, or of graphs of one format and precision")
    if options.infinity:
        if is_exported(options.checkpoint):
            raise SystemExit(
                "--infinity: give a checkpoint, whose folder transformers loads, and its graphs by --beside"
            )
        found.append(Variant("Infinity", options.checkpoint, None))
    return found


def _name(folder: Path) -> str:
    if not is_exported(folder):
        return folder.resolve().parent.name
    manifest = Manifest.read(folder)
    return f"{manifest.format} {manifest.precision}"


@contextmanager
def _started(variant: Variant, options: argparse.Namespace, deadline_s: float) -> Iterator[tuple[str, Dialect]]:
    """Its URL, and how it is asked."""
    if variant.choices is None:
        with infinity(options.infinity, options) as url:
            yield url, INFINITY
    else:
        with served(options, deadline_s, variant.choices, variant.folder) as (url, _):
            yield url, LATADJ


def measured(
    variant: str,
    kind: str,
    load_: float,
    found: Sequence[Reply],
    deadline_s: float,
    labels: Sequence[str],
    full: Sequence[str],
) -> Row:
    """What came of a load."""
    given = [reply for reply in found if reply.status == 200]
    in_time = [reply for reply in given if reply.seconds <= deadline_s]
    right = np.array([reply.label == labels[reply.text] for reply in given])
    best = np.array([full[reply.text] == labels[reply.text] for reply in given])
    milliseconds = [1000 * reply.seconds for reply in given] or [float("nan")]
    shed = sum(reply.status == 429 for reply in found)
    return Row(
        variant,
        kind,
        load_,
        len(found),
        len(in_time) / len(found),
        shed / len(found),
        (len(given) - len(in_time)) / len(found),
        len(found) - len(given) - shed,
        float(right.mean()) if len(right) else 0.0,
        100 * float(best.mean() - right.mean()) if len(right) else 0.0,
        float(np.mean([reply.speedup for reply in given])) if given else 0.0,
        float(np.percentile(milliseconds, 50)),
        float(np.percentile(milliseconds, 99)),
    )


def table(rows: Sequence[Row], deadline_s: float, capacity: float) -> Table:
    """All of it, for people."""
    columns = [
        Column("load", lambda row: row.load, "{:g}x"),
        Column("arrivals", lambda row: row.arrivals, left=True),
        Column("server", lambda row: row.variant, left=True),
        Column("in time", lambda row: 100 * row.in_time, "{:.1f}%"),
        Column("turned away", lambda row: 100 * row.shed, "{:.1f}%"),
        Column("late", lambda row: 100 * row.late, "{:.1f}%"),
        Column("accuracy", lambda row: 100 * row.accuracy, "{:.1f}%"),
        Column("points lost", lambda row: row.lost, "{:.2f}"),
        Column("mean speedup", lambda row: row.speedup, "{:.2f}x"),
        Column("p50", lambda row: row.p50_ms, "{:.1f} ms"),
        Column("p99", lambda row: row.p99_ms, "{:.1f} ms"),
    ]
    note = (
        f"1x is {capacity:.0f} requests a second, what the full model answers one at a time. Deadline: "
        f"{1000 * deadline_s:.1f} ms. Points lost: of the answers given, below the full model on the same texts."
    )
    return Table("", columns, rows, note)


def picture(rows: Sequence[Row], path: Path) -> None:
    """In-time share and accuracy over load, for Poisson arrivals."""
    figure = new_figure(9, 4)
    left, right = figure.subplots(1, 2)
    styles = product(("-", "--", ":", "-.", (0, (1, 4))), (GREY, BLUE, GREEN))
    for variant, (line, colour) in zip(dict.fromkeys(row.variant for row in rows), styles, strict=False):
        own = [row for row in rows if (row.variant, row.arrivals) == (variant, "Poisson")]
        mine = sorted(own, key=attrgetter("load"))
        loads = [row.load for row in mine]
        left.plot(loads, [100 * row.in_time for row in mine], marker="o", linestyle=line, color=colour, label=variant)
        right.plot(loads, [100 * row.accuracy for row in mine], marker="o", linestyle=line, color=colour, label=variant)
    left.set(ylabel="answers in time, %", ylim=(0, 102))
    right.set(ylabel="accuracy of the answers, %")
    left.legend(frameon=False)
    for panel in (left, right):
        panel.set_xlabel("load over the full model's capacity")
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def main() -> None:
    """Run every variant at every load, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--beside", type=Path, nargs="+", default=[], help="graphs and checkpoints to serve beside it")
    parser.add_argument("--infinity", type=Path, metavar="PYTHON", help="interpreter that has infinity-emb")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.8, 1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--burst-load", type=float, default=0.8, help="mean load of the bursts; 0: no bursts")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each variant at each load")
    parser.add_argument("--turns", type=int, default=2, help="times that variants take turns at each load")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, default=Path("outputs/serve/serve.json"), help="the picture is beside it")
    options = parser.parse_args()
    texts, labels = (part[: options.texts] for part in test_texts(options.checkpoint))
    p50, full, _ = full_model(options, texts)
    capacity, deadline_s = 1 / p50, 3 * p50
    bursts = [("bursts", options.burst_load)] if options.burst_load else []
    variants = variants_of(options)
    cells = [*(("Poisson", load_) for load_ in options.loads), *bursts]
    found: dict[tuple[str, str, float], list[Reply]] = {}
    with NoiseMonitor() as monitor:
        for turn in range(options.turns):
            for variant in variants:
                with _started(variant, options, deadline_s) as (url, dialect):
                    for kind, load_ in cells:
                        seconds = max(options.seconds, PERIOD_S) if kind == "bursts" else options.seconds
                        times = arrival_times(kind, load_ * capacity, seconds, turn)
                        got = asyncio.run(replies(url, texts, times, deadline_s, turn, dialect))
                        found.setdefault((variant.name, kind, load_), []).extend(got)
                        print(f"turn {turn + 1}, {variant.name}, {kind} {load_:g}x: {len(got)} requests", flush=True)
    rows = [
        measured(variant, kind, load_, got, deadline_s, labels, full)
        for (variant, kind, load_), got in sorted(found.items(), key=lambda one: (one[0][1], one[0][2]))
    ]
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "deadline_ms": 1000 * deadline_s,
        "capacity_per_s": capacity,
        "rows": [asdict(row) for row in rows],
        "environment": {**environment(torch.device("cpu"), options.precision), "quiet": asdict(monitor.report({}))},
        "options": json.loads(json.dumps(vars(options), default=str)),
    }
    write_json(options.json, result)
    picture(rows, options.json.with_suffix(".png"))
    print(table(rows, deadline_s, capacity).markdown())


if __name__ == "__main__":
    main()
