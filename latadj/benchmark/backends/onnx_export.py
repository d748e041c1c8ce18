"""One ONNX export of a classifier, in fp32 and in int8, which every runtime that reads ONNX shares."""

import copy
import hashlib
import itertools
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel

from latadj.devices.cpu_features import vnni
from latadj.utils.files import write_folder

FILE = "model.onnx"
OUTPUT = "logits"


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
        with _quiet():
            kind = QuantType.QInt8 if vnni() else QuantType.QUInt8
            quantize_dynamic(source, temporary / FILE, weight_type=kind)

    if not target.exists():
        write_folder(target, fill)
    return target / FILE


def _export(model: PreTrainedModel, inputs: Sequence[str], path: Path) -> None:
    import onnx

    # The eager formula gives the smallest graph: sdpa's adds a guard against rows that see nothing, and runtimes find
    # their own fused attention in either.
    graph = _Logits(with_attention(model, "eager"), inputs).eval()
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in inputs)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with torch.no_grad(), _quiet():
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporters that warn of what no user of latadj can act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
