"""Opens graphs in the runtime that they are for, on the CPU."""

import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from latadj.runtime.manifest import WHOLE

# Format of a folder's graphs -> package that runs them.
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


class Session(Protocol):
    """A graph that is ready to run."""

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """The outputs of these names."""


def open_session(path: Path, threads: int) -> Session:
    """A graph, by the ending of its file.

    Raises
    ------
    ValueError
        if its runtime is not installed, or does not read the graph.
    """
    return (openvino_session if path.suffix == ".xml" else onnxruntime_session)(path, threads)


def onnxruntime_session(path: Path, threads: int) -> Session:
    """An ONNX graph in ONNX Runtime; errors as of :func:`open_session`."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("this needs onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads wait for work by spinning, which makes a run fast, but they go on for a million pauses after it (40 ms on
    # an AMD EPYC, up to 500 ms elsewhere), and the next run may be another graph's: beside a level's, the whole model
    # took three times as long on two cores. This ends it with the run; allow_spinning=0 would end it within the run
    # too, which makes a run slower.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    _share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        session: Session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own errors have no common base
        raise ValueError(f"{path}: onnxruntime {onnxruntime.__version__} cannot read this graph ({error})") from error
    return session


@cache
def _share_memory() -> None:
    """Let all sessions of this process take memory from one arena: a dial has one for each width, of which one runs.

    Each of its own would hold on to the memory of the largest batch that it ever ran.
    """
    import onnxruntime

    cpu = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(cpu, None)


def openvino_session(path: Path, threads: int) -> Session:
    """A graph in OpenVINO, of its own format or ONNX; errors as of :func:`open_session`."""
    try:
        import openvino
    except ImportError as error:
        raise ValueError("this needs OpenVINO: pip install openvino") from error
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # By default it takes bf16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(path, _weights(path)), "CPU", settings)
    except RuntimeError as error:
        raise ValueError(f"{path}: OpenVINO {openvino.__version__} cannot read this graph ({error})") from error
    return _Compiled(compiled)


def _weights(path: Path) -> str:
    """File of the weights of a graph in OpenVINO's format: its own, or the whole model's; nothing of another format."""
    if path.suffix != ".xml":
        return ""
    own = path.with_suffix(".bin")
    return str(own if own.exists() else path.with_name(WHOLE["openvino"]).with_suffix(".bin"))


class _Compiled:
    """A compiled model of OpenVINO, whose requests each belong to one thread."""

    def __init__(self, compiled: Any) -> None:
        self._compiled, self._own = compiled, threading.local()

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        found = self._own.request.infer(dict(feeds))
        # The request writes its next outputs where it wrote these.
        return [np.array(found[name]) for name in outputs]
