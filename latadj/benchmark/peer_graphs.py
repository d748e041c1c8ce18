"""A classifier as the files that other runtimes read: ONNX in fp32 and int8, and OpenVINO's own in int8."""

import copy
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.devices.device import vnni
from latadj.utils.files import write_folder
from latadj.utils.quiet import quiet

FILE = "model.onnx"
OUTPUT = "logits"
# Over these NNCF measures ranges.
CALIBRATION_BATCHES = 16


class _Logits(torch.nn.Module):
    """A classifier as a graph: inputs by position, bare logits out."""

    def __init__(self, model: PreTrainedModel, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs = model, tuple(inputs)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.inputs, tensors, strict=True))).logits


def with_attention(model: PreTrainedModel, name: str) -> PreTrainedModel:
    """The model under another attention implementation: a copy that shares its weights."""
    weights = {id(tensor): tensor for tensor in itertools.chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, weights)
    twin.set_attn_implementation(name)
    return twin


def fp32_graph(model: PreTrainedModel, inputs: Sequence[str], folder: Path) -> Path:
    """The model's ONNX file under ``folder``, exported unless these very weights are there already.

    Parameters
    ----------
    inputs : names of the graph's inputs, each (batch, length) of int64; its output is ``logits``
    """
    target = folder / f"fp32-{_fingerprint(model, inputs)}"
    if not target.exists():
        write_folder(target, lambda temporary: _export(model, inputs, temporary / FILE))
    return target / FILE


def int8_graph(model: PreTrainedModel, inputs: Sequence[str], folder: Path) -> Path:
    """The same graph with int8 weights, its activations quantized as it runs (ONNX Runtime's dynamic quantization).

    Where the processor has no VNNI, weights are unsigned: sums with signed ones overflow there.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = fp32_graph(model, inputs, folder)
    target = folder / source.parent.name.replace("fp32", "int8" if vnni() else "uint8")

    def fill(temporary: Path) -> None:
        # By path rather than as a loaded model: half a gigabyte less at the peak for BERT-base.
        with quiet():
            kind = QuantType.QInt8 if vnni() else QuantType.QUInt8
            quantize_dynamic(source, temporary / FILE, weight_type=kind)

    if not target.exists():
        write_folder(target, fill)
    return target / FILE


def openvino_int8_graph(model: PreTrainedModel, inputs: Sequence[str], folder: Path) -> Path:
    """The same graph with int8 weights and activations, whose ranges NNCF measures beforehand on a few batches.

    Those are of random tokens: how long a run takes does not depend on the ranges, its answers do.
    """
    source = fp32_graph(model, inputs, folder)
    target = folder / source.parent.name.replace("fp32", "openvino-int8")

    def fill(temporary: Path) -> None:
        import openvino

        rng = np.random.default_rng(0)
        # Some models count positions from 2.
        longest = min(128, getattr(model.config, "max_position_embeddings", 512) - 2)
        batches = []
        for length in np.linspace(min(8, longest), longest, CALIBRATION_BATCHES).astype(int):
            arrays = {name: np.zeros((8, length), dtype=np.int64) for name in inputs}
            arrays["input_ids"] = rng.integers(0, model.config.vocab_size, (8, length))
            batches.append({**arrays, "attention_mask": np.ones((8, length), dtype=np.int64)})
        quantized = openvino_int8(openvino.Core().read_model(source), batches)
        openvino.save_model(quantized, temporary / "model.xml", compress_to_fp16=False)

    if not target.exists():
        write_folder(target, fill)
    return target / "model.xml"


def openvino_int8(
    model: Any, batches: Sequence[Mapping[str, np.ndarray]], *, smooth: bool = True, in_fp32: str | None = None
) -> Any:
    """A model of OpenVINO with int8 weights and activations, whose ranges NNCF measures over these batches.

    Parameters
    ----------
    smooth : whether ranges of activations are moved into weights, as is NNCF's default
    in_fp32 : pattern of names of operations that are not quantized
    """
    import nncf

    advanced = nncf.AdvancedQuantizationParameters()
    if not smooth:
        advanced.smooth_quant_alphas = nncf.AdvancedSmoothQuantParameters(matmul=-1)
    with quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(list(batches)),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
            ignored_scope=None if in_fp32 is None else nncf.IgnoredScope(patterns=[in_fp32], validate=False),
            advanced_parameters=advanced,
        )


def _export(model: PreTrainedModel, inputs: Sequence[str], path: Path) -> None:
    import onnx

    # The eager formula gives the smallest graph: sdpa's adds a guard against rows that see nothing, and runtimes find
    # their own fused attention in either.
    graph = _Logits(with_attention(model, "eager"), inputs).eval()
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in inputs)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with torch.no_grad(), quiet():
        # The TorchScript exporter (dynamo=False) is as fast to run, but takes three times the weights in memory.
        torch.onnx.export(
            graph,
            example,
            path,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamo=True,
            dynamic_shapes=(tuple(sizes for _ in inputs),),  # one entry, since forward takes *tensors
            external_data=True,
            verbose=False,
        )
    # The exporter's shapes of transposed weights contradict ONNX's own inference, on which quantization then stops.
    written = onnx.load(path, load_external_data=False)
    del written.graph.value_info[:]
    onnx.save(written, path)


def _fingerprint(model: PreTrainedModel, inputs: Sequence[str]) -> str:
    """Name of what is exported, so that a folder used for another model cannot hand out the wrong graph."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(" ".join([type(model).__name__, *inputs, model.config.to_json_string()]).encode())
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        digest.update(tensor.detach().contiguous().numpy())
    return digest.hexdigest()
