"""Tiny checkpoints that can be served: with a dial, drops along it, and a clock that was written by hand."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import torch
import uvicorn
from helpers import toy_project as toy
from helpers.measured_drops import with_drops
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import (
    CheckpointMetadata,
    Device,
    Serving,
    TaskSpec,
    read_metadata,
    write_metadata,
)
from latadj.commands.serve.serve import open_service
from latadj.config import ServeConfig
from latadj.config.compose import compose, typed
from latadj.devices.device import place
from latadj.elimination.architectures import architecture_of, layer_shapes
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.level_dials import with_levels
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.runtime.place import place as graph_place
from latadj.server.application import application
from latadj.server.model_service import ModelService
from latadj.server.web_server import bound

LINE = (1.0, 32.0)
# Eight texts: a tenth of a millisecond for each token, and next to nothing that does not go by tokens.
CLOCK = LatencyModel(
    batch=8,
    entering=Ramp(1e-5, LINE, (1e-4,)),
    choosing=Ramp(0.0, LINE, (0.0,)),
    leaving=Ramp(0.0, LINE, (8e-4,)),
    last=Ramp(1e-5, LINE, (5e-5,)),
    outside=Ramp(2e-5, LINE, (0.0,)),
)
DROPS = {1.0: 0.0, 2.0: 0.5, 3.0: 1.5, 5.0: 4.0}
GENEROUS = 60_000.0


def write_served(
    root: Path,
    name: str = "checkpoint",
    labels: tuple[str, ...] = ("bad", "good"),
    drops: bool = True,
    clock: bool = True,
    dial: bool = True,
    widths: tuple[float, ...] = (),
    whole_length: float = 0.0,
    protected: int = 0,
) -> Path:
    """A checkpoint in ``root``; its model has random weights.

    Parameters
    ----------
    widths : of the levels of its dial
    whole_length : tokens of texts that the dial leaves whole
    protected : above 0 it is a reranker, whose dial protects so many tokens of a pair
    """
    source = root / "model"
    if not source.exists():
        toy.write_model(source)
    torch.manual_seed(1)
    shape = AutoConfig.from_pretrained(source, initializer_range=0.3, num_labels=len(labels) or 1)
    model = AutoModelForSequenceClassification.from_config(shape)
    reads = architecture_of(model).reads(model)
    made = Dial(layer_acc=(0.9, 0.8, 0.7, 0.6), lengths=tuple(range(6, 24)), shapes=layer_shapes(model), reads=reads)
    made = replace(made, protected=protected)
    if widths:
        made = with_levels(replace(made, profile_type="geometric", widths=widths), [1.5, 3])
        made = replace(made, anchors=tuple(replace(one, whole_length=whole_length) for one in made.anchors))
    if drops:
        made = with_drops(made, DROPS)
    devices = _clocked() if clock else {}
    task_spec = TaskSpec("classification", ["text"], list(labels), "accuracy", 32, 8)
    if protected:
        task_spec = TaskSpec("reranking", ["query", "document"], list(labels), "ndcg", 32, 8)
    metadata = CheckpointMetadata("toys", made if dial else None, devices=devices, task_spec=task_spec)
    checkpoint.save(model, AutoTokenizer.from_pretrained(source), root / name, metadata)
    return root / name


def _clocked() -> dict[str, Device]:
    return {place(torch.device("cpu")): Device(serving={"fp32": Serving("plain", (CLOCK,))})}


def write_graph_clock(folder: Path, threads: int = 1) -> None:
    """Give a folder of exported graphs the clock, as if it had been measured here in ONNX Runtime."""
    clock = {graph_place(threads, "onnxruntime"): Device(serving={"fp32": Serving("onnxruntime", (CLOCK,))})}
    write_metadata(folder, replace(read_metadata(folder), devices=clock))


def write_served_embedder(root: Path) -> Path:
    """A checkpoint in ``root`` that embeds texts; its model has random weights."""
    from helpers.tiny_embedders import write_embedder

    model, tokenizer = checkpoint.load(write_embedder(root / "embedder", normalize=False), head="embedding")
    pipeline_of(model).prompts = {"query": "good "}
    dial = Dial(layer_acc=(0.9, 0.8, 0.7, 0.6), lengths=tuple(range(6, 24)), shapes=layer_shapes(model), reads="all")
    task_spec = TaskSpec("embedding", ["text"], [], "fidelity", 16, 8)
    metadata = CheckpointMetadata("embedding", with_drops(dial, DROPS), devices=_clocked(), task_spec=task_spec)
    checkpoint.save(model, tokenizer, root / "embeds", metadata)
    return root / "embeds"


def config_for(folder: Path, *overrides: str) -> ServeConfig:
    """The config of `latadj serve` for a checkpoint, with a deadline that is always met and no warm-up."""
    common = [
        *(f"checkpoint={folder}", f"folder={folder.parent / 'out'}", "device.name=cpu", "device.threads=1"),
        *(f"deadline_ms={GENEROUS:g}", "warm_up_s=0", "port=0"),
    ]
    config = typed("serve", compose("serve", [*common, *overrides]))
    assert isinstance(config, ServeConfig)
    return config


class Client:
    """Asks a server.

    url : where it is
    """

    url: str

    def post(self, body: object, headers: dict[str, str] | None = None, path: str = "/predict") -> httpx.Response:
        """Ask for something."""
        return httpx.post(self.url + path, json=body, headers=headers, timeout=60)


class Running(Client):
    """A server in a thread of this process.

    service : what it serves
    failures : what would have ended it
    """

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.service: ModelService = open_service(config_for(folder, *overrides))
        listening = bound("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.failures: list[Exception] = []
        app = application(self.service, self.failures.append)
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", server_header=False))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)

    def __enter__(self) -> "Running":
        self._thread.start()
        wait_for(lambda: self.service.ready and self._server.started)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)


class OnRay(Client):
    """The same on a Ray cluster of this machine."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        from latadj.server.ray_server import RayServer

        with bound("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._server = RayServer(config_for(folder, "engine=ray", f"port={port}", *overrides), open_service)

    def __enter__(self) -> "OnRay":
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop()


def wait_for(holds, seconds: float = 60.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError("it never held")
        time.sleep(0.01)


@contextmanager
def process(folder: Path, *overrides: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`latadj serve` in a process of its own, once it is ready, and its URL."""
    options = [
        *(f"checkpoint={folder}", f"folder={folder.parent / 'served'}", "device.name=cpu", "device.threads=1"),
        *(f"deadline_ms={GENEROUS:g}", "warm_up_s=0", "port=0"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "latadj", "serve", *options, *overrides]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            assert server.stderr is not None
            url = next(line.split("serving on ")[1].strip() for line in server.stderr if "serving on " in line)
            wait_for(lambda: _healthy(url))
            yield server, url
        finally:
            if server.poll() is None:
                server.kill()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def spoil(folder: Path) -> None:
    """Make a weight of a saved model NaN."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["bert.encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})


def without_clock_of_this_device(metadata: CheckpointMetadata) -> CheckpointMetadata:
    """The same, measured on another device."""
    return replace(metadata, devices={"another": next(iter(metadata.devices.values()))})


def lines(text: str) -> list[dict[str, object]]:
    """JSON lines."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
