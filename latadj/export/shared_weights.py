"""Writes graphs of several widths over one file of weights.

A narrower level uses the first heads and neurons of each layer, so that its matrices are parts of the whole model's:
the first rows of those whose inputs are left out, and of the others once they are transposed. Then they are the
beginning of what the file holds anyway.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Smaller tensors stay in the graph.
LEAST_BYTES = 1024
# Runtimes map the file into memory page by page.
PAGE = 4096
# A graph of more bytes than this needs a file for its weights: protobuf ends at 2 GB.
LARGEST_FILE = 1_800_000_000
# How many numbers of a matrix tell it from others, before all are compared.
_PROBE = 16


def write_graphs(graphs: Mapping[str, onnx.ModelProto], folder: Path, data: str) -> None:
    """Write graphs, the widest first, and their weights as one file beside them.

    Parameters
    ----------
    graphs : name of a file -> graph; they are changed
    data : name of the file of weights
    """
    first, *others = graphs.values()
    wide = large_tensors(first)
    found = [parts_of(wide, other) for other in others]
    narrower = {place for parts in found for place, columns in parts.values() if columns}
    with (folder / data).open("wb") as file:
        offsets: dict[str, int] = {}
        for tensor in list(first.graph.initializer):
            if tensor.name in wide:
                transposed = tensor.name in narrower
                values = wide[tensor.name].T if transposed else wide[tensor.name]
                offsets[tensor.name] = _append(file, values)
                _refer(first, tensor, values.shape, transposed, data, offsets[tensor.name])
        for other, parts in zip(others, found, strict=True):
            for tensor in list(other.graph.initializer):
                if not _is_large(tensor):
                    continue
                values = numpy_helper.to_array(tensor)
                if tensor.name in parts:
                    place, _ = parts[tensor.name]
                    transposed = place in narrower
                    shape = values.T.shape if transposed else values.shape
                    _refer(other, tensor, shape, transposed, data, offsets[place])
                else:
                    _refer(other, tensor, values.shape, False, data, _append(file, values))
    for name, graph in graphs.items():
        onnx.save(graph, folder / name)


def large_tensors(graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The tensors of a graph that do not stay in it."""
    return {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer if _is_large(one)}


def _is_large(tensor: TensorProto) -> bool:
    return len(tensor.raw_data) >= LEAST_BYTES


def parts_of(wide: Mapping[str, np.ndarray], narrow: onnx.ModelProto) -> dict[str, tuple[str, bool]]:
    """For the large tensors of a graph that are parts of another's: which, and whether columns are left out of it."""
    beginnings: dict[bytes, list[str]] = {}
    for name, values in wide.items():
        beginnings.setdefault(_beginning(values), []).append(name)
    parts = {}
    for tensor in narrow.graph.initializer:
        if not _is_large(tensor):
            continue
        values = numpy_helper.to_array(tensor)
        for name in beginnings.get(_beginning(values), ()):
            whole = wide[name]
            if values.dtype == whole.dtype and values.ndim == whole.ndim and _begins(whole, values):
                parts[tensor.name] = (name, values.ndim == 2 and values.shape[1] < whole.shape[1])
                break
    return parts


def _beginning(values: np.ndarray) -> bytes:
    return values[(0,) * (values.ndim - 1)][:_PROBE].tobytes()


def _begins(whole: np.ndarray, values: np.ndarray) -> bool:
    """Whether a matrix is the first rows of another, or the first columns, or a vector the first entries."""
    if any(mine > theirs for mine, theirs in zip(values.shape, whole.shape, strict=True)):
        return False
    if values.ndim == 2 and values.shape[0] < whole.shape[0] and values.shape[1] < whole.shape[1]:
        return False
    if values.ndim > 2 and values.shape != whole.shape:
        return False
    return np.array_equal(whole[tuple(slice(size) for size in values.shape)], values)


def _append(file: BinaryIO, values: np.ndarray) -> int:
    """Write values on a page of their own; returns where they begin."""
    file.write(bytes(-file.tell() % PAGE))
    offset = int(file.tell())
    file.write(np.ascontiguousarray(values).tobytes())
    return offset


def _refer(
    graph: onnx.ModelProto, tensor: TensorProto, shape: Sequence[int], transposed: bool, data: str, offset: int
) -> None:
    """Let a graph's tensor be what the file holds, transposed or not."""
    name, kind = tensor.name, tensor.data_type
    if transposed:
        tensor.name = f"{name}_transposed"
        graph.graph.node.insert(0, helper.make_node("Transpose", [tensor.name], [name], perm=[1, 0]))
    size = int(np.prod(shape)) * helper.tensor_dtype_to_np_dtype(kind).itemsize
    tensor.ClearField("raw_data")
    del tensor.dims[:]
    tensor.dims.extend(shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", data), ("offset", str(offset)), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
