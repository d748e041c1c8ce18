"""Graphs whose linear maps are int8, quantized by onnxruntime's own tools: activations by the range of each call."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from latadj.export.shared_weights import LARGEST_FILE, large_tensors, parts_of
from latadj.utils.quiet import quiet

# Products with weights, the maps of the head, and embeddings, which are most of a small model's bytes.
QUANTIZED = ("MatMul", "Gemm", "Gather")
# What onnxruntime keeps of a weight, each under a name that ends so.
KEPT = ("quantized", "scale", "zero_point")


def quantized(graphs: Mapping[str, onnx.ModelProto]) -> dict[str, onnx.ModelProto]:
    """The same graphs with weights of int8, one scale for each output of a map, and one for each table of embeddings.

    A narrower graph's weights and scales are parts of the whole one's, not of its own range: so they are stored once,
    and a weight is the same number at every level.

    Parameters
    ----------
    graphs : name -> graph, the whole model's first; they stay as they are
    """
    (first, whole), *others = graphs.items()
    made = _quantized(whole)
    found, weights, large = {first: made}, _initializers(made), large_tensors(whole)
    for name, graph in others:
        narrow = _quantized(graph)
        tensors = _initializers(narrow)
        for weight, (origin, _) in parts_of(large, graph).items():
            for ending in KEPT:
                tensor, wide = tensors.get(f"{weight}_{ending}"), weights.get(f"{origin}_{ending}")
                if tensor is None or wide is None:
                    continue
                shape, values = tuple(tensor.dims), numpy_helper.to_array(wide)
                part = values[tuple(slice(size) for size in shape)]
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(part), tensor.name))
        found[name] = narrow
    return found


def _initializers(graph: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {one.name: one for one in graph.graph.initializer}


def _quantized(graph: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=graph.ByteSize() >= LARGEST_FILE,
        )
        return onnx.load(path)
