"""What the benchmarks of `latadj serve` share: texts, arrivals, a server, and a load for it."""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
import torch
from transformers import AutoConfig

from latadj.config import DeviceConfig, EvalConfig
from latadj.config.compose import compose, typed
from latadj.devices.device import choose
from latadj.inference.serving import load
from latadj.runtime import Predictor
from latadj.runtime.manifest import is_exported
from latadj.server.web_server import bound
from latadj.server.wire_format import scores
from latadj.tasks.encoding.batches import pad, tokenize
from latadj.tasks.types import task_type_of

# A burst: so many times the load, for this share of a period of so many seconds.
BURST, SHARE, PERIOD_S = 3.0, 1 / 6, 20.0
# (1, outputs) logits of a text.
Ask = Callable[[Any], np.ndarray]
PATIENCE_S = 10.0  # how much longer than the deadline an answer is waited for


@dataclass(frozen=True)
class Dialect:
    """How a server is asked for the label of a text.

    body : JSON that asks for a text
    read : label and speedup, of an answer's headers and JSON
    """

    path: str
    body: Callable[[str], dict[str, Any]]
    read: Callable[[Mapping[str, str], Any], tuple[str, float]]


LATADJ = Dialect(
    "/predict",
    lambda text: {"inputs": text, "truncate": True},
    lambda headers, found: (found[0]["label"], float(headers["X-Latadj-Speedup"])),
)
INFINITY = Dialect(
    "/classify",
    lambda text: {"model": "served", "input": [text]},
    lambda headers, found: (max(found["data"][0], key=lambda one: one["score"])["label"], 1.0),
)


@dataclass
class Reply:
    """What a request got; status 0: nothing."""

    text: int
    status: int
    seconds: float
    label: str = ""
    speedup: float = 1.0


def test_texts(checkpoint: Path) -> tuple[list[str], list[str]]:
    """Texts of the built-in test split, and the names of their labels."""
    config = typed("eval", compose("eval", [f"checkpoint={checkpoint}"]))
    assert isinstance(config, EvalConfig)
    test = task_type_of(config.task).load(None).tests["test"]
    names = config.task.labels or []
    return list(test[config.task.text[0]]), [names[label] for label in test["label"]]


def full_model(options: argparse.Namespace, texts: Sequence[str]) -> tuple[float, list[str], np.ndarray]:
    """Median seconds of one text at 1x, what the full model answers to each, and the score of its first label."""
    ask, names, rows = (_graph if is_exported(options.checkpoint) else _model)(options, texts)
    for turn in range(2):  # a length that runs for the first time makes kernels
        seconds: list[float] = []
        logits: list[np.ndarray] = []
        for row in rows if turn else rows[:200]:
            start = time.perf_counter()
            answer = ask(row)
            seconds.append(time.perf_counter() - start)
            logits.append(answer)
    each = np.concatenate(logits)
    return float(np.median(seconds)), [names[place] for place in each.argmax(axis=1)], scores(each, False)[:, 0]


def _model(options: argparse.Namespace, texts: Sequence[str]) -> tuple[Ask, list[str], list[Any]]:
    choose(DeviceConfig(name="cpu", threads=options.threads))
    model, tokenizer = load(options.checkpoint, precision=options.precision)

    def ask(row: Any) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(model(**pad([row], tokenizer)).logits.float().numpy())

    names = [str(name) for name in model.config.id2label.values()]
    return ask, names, list(tokenize([list(texts)], tokenizer, options.max_length))


def _graph(options: argparse.Namespace, texts: Sequence[str]) -> tuple[Ask, list[str], list[Any]]:
    predictor = Predictor(options.checkpoint, threads=options.threads)
    full = predictor.profile(1.0)
    outputs = len(AutoConfig.from_pretrained(options.checkpoint).id2label)
    names = predictor.manifest.labels or [f"LABEL_{number}" for number in range(outputs)]
    return lambda row: predictor.run([row], full)[0], names, predictor.encoder(list(texts))


def arrival_times(kind: str, rate: float, seconds: float, seed: int) -> np.ndarray:
    """Seconds at which requests come, of a mean rate."""
    rng = np.random.default_rng(seed)
    top = rate * (BURST / (1 + (BURST - 1) * SHARE) if kind == "bursts" else 1.0)
    times = np.cumsum(rng.exponential(1 / top, int(2 * top * seconds) + 10))
    times = times[times < seconds]
    if kind == "bursts":  # thin out what lies between the bursts
        calm = times % PERIOD_S >= SHARE * PERIOD_S
        times = times[~calm | (rng.random(len(times)) < 1 / BURST)]
    return times


async def replies(
    url: str, texts: Sequence[str], times: np.ndarray, deadline_s: float, seed: int, dialect: Dialect = LATADJ
) -> list[Reply]:
    """Send requests when they are due, and wait for all of their answers."""
    order = np.random.default_rng(seed).integers(0, len(texts), len(times))
    timeout = aiohttp.ClientTimeout(total=deadline_s + PATIENCE_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def ask(number: int) -> Reply:
            text = int(order[number])
            await asyncio.sleep(max(0.0, start + times[number] - time.perf_counter()))
            due = start + times[number]  # where the generator is late, that counts too
            try:
                async with session.post(url + dialect.path, json=dialect.body(texts[text])) as answer:
                    body = await answer.json()
                    took = time.perf_counter() - due
                    if answer.status != 200:
                        return Reply(text, answer.status, took)
                    return Reply(text, 200, took, *dialect.read(answer.headers, body))
            except (aiohttp.ClientError, asyncio.TimeoutError):
                return Reply(text, 0, time.perf_counter() - due)

        start = time.perf_counter() + 0.2
        return list(await asyncio.gather(*(ask(number) for number in range(len(times)))))


@contextmanager
def served(
    options: argparse.Namespace, deadline_s: float, choices: Sequence[str], folder: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`latadj serve` in a process of its own; gives its URL once it is ready, and the process.

    Parameters
    ----------
    folder : to serve; None: the checkpoint
    """
    folder = folder or options.checkpoint
    command = [sys.executable, "-m", "latadj", "serve", f"checkpoint={folder}", "port=0"]
    command += [f"folder={options.json.parent / 'served'}", f"deadline_ms={1000 * deadline_s:.4g}", "device.name=cpu"]
    command += [*([] if is_exported(folder) else [f"device.precision={options.precision}"]), *choices]
    command += [f"device.threads={options.threads}"] if options.threads else []
    environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as server:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if "serving on" in line:
                break
        else:
            raise SystemExit("".join(said))
        url = said[-1].split("serving on ")[1].strip()
        try:
            _wait_until_healthy(url, server)
            yield url, server
        finally:
            server.terminate()
            server.wait()


@contextmanager
def infinity(python: Path, options: argparse.Namespace) -> Iterator[str]:
    """Infinity (`infinity-emb`) with the checkpoint, which is an ordinary folder to it; gives its URL.

    Parameters
    ----------
    python : interpreter of an environment that has it, as it needs older packages than this project
    """
    with bound("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [python, "-m", "infinity_emb.cli", "v2", "--model-id", options.checkpoint]
    command += ["--served-model-name", "served"]
    command += ["--engine", "torch", "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", port]
    command += ["--no-bettertransformer", "--log-level", "error"]
    threads = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    environ = {**os.environ, **threads, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    with subprocess.Popen(list(map(str, command)), env=environ) as server:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_healthy(url, server)
            yield url
        finally:
            server.terminate()
            server.wait()


def _wait_until_healthy(url: str, server: "subprocess.Popen[Any]") -> None:
    while server.poll() is None:
        with suppress(httpx.TransportError):  # it does not listen yet
            if httpx.get(f"{url}/health", timeout=10).status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"{url}: the server ended with {server.returncode} before it was ready")
