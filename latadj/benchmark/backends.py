"""What a user would take instead of latadj: the same classifier in other runtimes, each set up at its strongest."""

import copy
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from latadj.benchmark.peer_graphs import OUTPUT, fp32_graph, int8_graph, openvino_int8_graph, with_attention
from latadj.runtime.sessions import Session, onnxruntime_session, openvino_session
from latadj.tasks.encoding.batches import MODEL_INPUTS, Batch

Forward = Callable[[Batch], object]
INPUTS = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Backend:
    """One alternative.

    make : (model, inputs, folder, threads) -> forward
    modules : what it imports beyond latadj's own requirements
    in_torch : runs on torch's own threads
    compiles : needs a C++ compiler
    """

    make: Callable[[PreTrainedModel, Sequence[str], Path, int], Forward]
    modules: tuple[str, ...] = ()
    in_torch: bool = False
    compiles: bool = False


def missing(name: str) -> str | None:
    """What to install before :func:`build` can make this backend, in one line; None if nothing.

    Raises
    ------
    ValueError
        if there is no such backend.
    """
    backend = _backend(name)
    absent = [module for module in backend.modules if find_spec(module) is None]
    if absent:
        return f"{name} needs {', '.join(absent)}: pip install 'latadj[backends]'"
    if backend.compiles and not _can_compile():
        return f"{name} needs a C++ compiler and Python's headers: install g++ (or set CXX) and python3-dev"
    return None


def build(name: str, model: PreTrainedModel, folder: Path, threads: int, *, inputs: Sequence[str] = INPUTS) -> Forward:
    """Make a backend's forward: batch in, logits of (batch, labels) on the host out.

    Parameters
    ----------
    model : plain classifier in fp32 on the CPU, in eval mode and detached; it is left as it is
    folder : for exported files; the next backend, or the next call, finds them there
    threads : that it may use; torch's own backends take torch's setting, which has to be the same
    inputs : what its batches have, since a graph is made for certain inputs

    Raises
    ------
    ValueError
        if the backend is unknown, lacks something, or the model or the threads are not as above; the forward raises it
        for a batch with other inputs.
    """
    if lacks := missing(name):
        raise ValueError(lacks)
    if model.device.type != "cpu" or model.dtype != torch.float32 or model.training:
        raise ValueError(
            f"{name}: got a model in {model.dtype} on {model.device}, {'training' if model.training else 'eval'} mode; "
            "backends are made from one in fp32 on the CPU, in eval mode"
        )
    backend = BACKENDS[name]
    if backend.in_torch and torch.get_num_threads() != threads:
        raise ValueError(f"threads={threads}: torch uses {torch.get_num_threads()}; call torch.set_num_threads first")
    forward = backend.make(model, inputs, folder, threads)

    def checked(batch: Batch) -> object:
        tensors = {key: value for key, value in batch.items() if key in MODEL_INPUTS}
        if set(tensors) != set(inputs):
            raise ValueError(f"{name}: a batch with {', '.join(tensors)}, but it was built for {', '.join(inputs)}")
        return forward(tensors)

    return checked


def _sdpa_fp32(model: PreTrainedModel, inputs: Sequence[str], folder: Path, threads: int) -> Forward:
    return _in_torch(with_attention(model, "sdpa"))


def _sdpa_bf16(model: PreTrainedModel, inputs: Sequence[str], folder: Path, threads: int) -> Forward:
    twin = copy.deepcopy(model)
    twin.set_attn_implementation("sdpa")
    return _in_torch(twin.to(torch.bfloat16))


def _torch_compile(model: PreTrainedModel, inputs: Sequence[str], folder: Path, threads: int) -> Forward:
    from torch._inductor import config

    # Dynamic, for more than the fewer compilations: with a fixed batch size inductor packs the frozen weights for MKL,
    # with a dynamic one for oneDNN, which was twice as fast on an AMD processor.
    run = _in_torch(torch.compile(with_attention(model, "sdpa"), dynamic=True))

    def forward(batch: Batch) -> object:
        # Around each call and not as an option of torch.compile: dynamo looks at the setting too, to make the weights
        # constants, and does so again whenever a batch needs another graph.
        with config.patch(freezing=True):
            return run(batch)

    return forward


def _onnxruntime_fp32(model: PreTrainedModel, inputs: Sequence[str], folder: Path, threads: int) -> Forward:
    return _in_session(onnxruntime_session(fp32_graph(model, inputs, folder), threads))


def _onnxruntime_int8(model: PreTrainedModel, inputs: Sequence[str], folder: Path, threads: int) -> Forward:
    return _in_session(onnxruntime_session(int8_graph(model, inputs, folder), threads))


def _openvino_fp32(model: PreTrainedModel, inputs: Sequence[str], folder: Path, threads: int) -> Forward:
    return _in_session(openvino_session(fp32_graph(model, inputs, folder), threads))


def _openvino_int8(model: PreTrainedModel, inputs: Sequence[str], folder: Path, threads: int) -> Forward:
    return _in_session(openvino_session(openvino_int8_graph(model, inputs, folder), threads))


def _in_torch(model: Callable[..., Any]) -> Forward:
    def forward(batch: Batch) -> object:
        with torch.inference_mode():
            return model(**batch).logits.float()

    return forward


def _in_session(session: Session) -> Forward:
    return lambda batch: session.run([OUTPUT], {name: tensor.numpy() for name, tensor in batch.items()})[0]


def _can_compile() -> bool:
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    compiler = shlex.split(os.environ.get("CXX") or usual)[0]
    return shutil.which(compiler) is not None and Path(sysconfig.get_path("include"), "Python.h").is_file()


def _backend(name: str) -> Backend:
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r}: expected one of {', '.join(BACKENDS)}")
    return BACKENDS[name]


_EXPORT = ("onnx", "onnxscript")
BACKENDS: dict[str, Backend] = {
    "sdpa_fp32": Backend(_sdpa_fp32, in_torch=True),
    "sdpa_bf16": Backend(_sdpa_bf16, in_torch=True),
    "torch_compile_fp32": Backend(_torch_compile, in_torch=True, compiles=True),
    "onnxruntime_fp32": Backend(_onnxruntime_fp32, (*_EXPORT, "onnxruntime")),
    "onnxruntime_int8": Backend(_onnxruntime_int8, (*_EXPORT, "onnxruntime")),
    "openvino_fp32": Backend(_openvino_fp32, (*_EXPORT, "openvino")),
    "openvino_int8": Backend(_openvino_int8, (*_EXPORT, "openvino", "nncf")),
}
