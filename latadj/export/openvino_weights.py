"""Writes OpenVINO's models of several widths over one file of weights.

A narrower level uses the first heads and neurons of each layer, so that its matrices are the first outputs, or the
first inputs, of the whole model's. Stored with those first, they are the beginning of what the file holds anyway.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np

# Where a constant begins in the file.
ALIGNMENT = 64
# How many bytes of a constant tell it from others, before all are compared.
_PROBE = 64
# The same of a matrix: so many of its first outputs and inputs.
_PROBE_SIDE = 8


@dataclass
class _Product:
    """A product with a weight.

    weight : constant, (outputs, inputs) with ``outputs_first``, else (inputs, outputs)
    scale : constant of int8 weights, one for each output; None in fp32
    """

    node: Any
    weight: Any
    scale: Any | None

    @property
    def outputs_first(self) -> bool:
        return bool(self.node.get_attributes()["transpose_b"])

    def values(self) -> np.ndarray:
        """(outputs, inputs) as stored."""
        return self.weight.data if self.outputs_first else self.weight.data.T

    def scales(self) -> np.ndarray:
        """(outputs, 1)"""
        return np.zeros((1, 1), dtype=np.float32) if self.scale is None else self.scale.data.reshape(-1, 1)

    def numbers(self, outputs: int, inputs: int) -> np.ndarray:
        """(outputs, inputs) what the first of the stored values stand for."""
        values = self.values()[:outputs, :inputs]
        return values if self.scale is None else values * self.scales()[:outputs]


def share_weights(files: Sequence[Path], folder: Path) -> None:
    """Write models into a folder, all over the file of weights of the first.

    Parameters
    ----------
    files : ``.xml`` as OpenVINO writes it, of several names, with its ``.bin`` beside it; the whole model's first
    """
    import openvino

    core = openvino.Core()
    models = {path: core.read_model(path) for path in files}
    products = {path: list(_products(model)) for path, model in models.items()}
    whole = products[files[0]]
    parts = [(mine, _whole_of(mine, whole)) for path in files[1:] for mine in products[path]]
    inputs_first = {id(wide) for mine, wide in parts if wide and mine.values().shape[1] < wide.values().shape[1]}
    for mine, wide in parts:
        if wide is not None:
            _use(mine, _part(mine, wide), outputs_first=id(wide) not in inputs_first)
    for wide in whole:
        _use(wide, (wide.values(), wide.scales()), outputs_first=id(wide) not in inputs_first)
    (folder / "written").mkdir()
    with (folder / files[0].with_suffix(".bin").name).open("wb") as file:
        weights = _File(file)
        for path, model in models.items():
            written = folder / "written" / path.name
            openvino.save_model(model, written, compress_to_fp16=False)
            _refer(written, weights, folder / path.name)
            for left in (written, written.with_suffix(".bin")):
                left.unlink()
    (folder / "written").rmdir()


def _products(model: Any) -> Iterator[_Product]:
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        weight, scale = node.input_value(1).get_node(), None
        if weight.get_type_name() == "Multiply":
            scale, weight = weight.input_value(1).get_node(), weight.input_value(0).get_node()
            if weight.get_type_name() != "Convert" or scale.get_type_name() != "Constant":
                continue
            weight = weight.input_value(0).get_node()
        if weight.get_type_name() == "Constant" and len(weight.shape) == 2:
            yield _Product(node, weight, scale)


def _whole_of(mine: _Product, whole: Sequence[_Product]) -> _Product | None:
    """The whole model's product whose weight has that of a narrower one as its first outputs or inputs."""
    outputs, inputs = mine.values().shape
    few = min(outputs, _PROBE_SIDE), min(inputs, _PROBE_SIDE)
    for wide in whole:
        shape = wide.values().shape
        if outputs > shape[0] or inputs > shape[1] or (outputs < shape[0] and inputs < shape[1]):
            continue
        if _same(mine, wide, *few) and _same(mine, wide, outputs, inputs):
            return wide
    return None


def _same(mine: _Product, wide: _Product, outputs: int, inputs: int) -> bool:
    """Whether the first numbers of both are the same but for rounding, each to a step of its own."""
    off = (mine.scales()[:outputs] + wide.scales()[:outputs]) * 0.501
    return bool((np.abs(mine.numbers(outputs, inputs) - wide.numbers(outputs, inputs)) <= off).all())


def _part(mine: _Product, wide: _Product) -> tuple[np.ndarray, np.ndarray]:
    outputs, inputs = mine.values().shape
    return wide.values()[:outputs, :inputs], wide.scales()[:outputs]


def _use(product: _Product, weight: tuple[np.ndarray, np.ndarray], *, outputs_first: bool) -> None:
    """Let a product take another weight, in a layout."""
    from openvino import opset13

    values, scales = weight
    if not outputs_first:
        values, scales = values.T, scales.T
    stored = opset13.constant(np.ascontiguousarray(values))
    if product.scale is not None:
        stored = opset13.multiply(
            opset13.convert(stored, "f32"), opset13.constant(np.ascontiguousarray(scales, dtype=np.float32))
        )
    product.node.set_arguments([product.node.input_value(0), stored.output(0)])
    product.node.set_attribute("transpose_b", outputs_first)
    product.node.validate_and_infer_types()


class _File:
    """A file of constants, none of which is written twice or beside another that begins with it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._written: dict[bytes, list[tuple[int, bytes]]] = {}

    def place(self, data: bytes) -> int:
        """Where a constant is in the file."""
        known = self._written.setdefault(data[:_PROBE], [])
        for offset, other in known:
            if other.startswith(data):
                return offset
        self._file.write(bytes(-self._file.tell() % ALIGNMENT))
        offset = self._file.tell()
        self._file.write(data)
        known.append((offset, data))
        return offset


def _refer(written: Path, weights: _File, target: Path) -> None:
    """Write a model whose constants are in the shared file."""
    tree = ElementTree.parse(written)
    data = np.memmap(written.with_suffix(".bin"), mode="r")
    constants = [layer.attrib for layer in tree.iterfind(".//layer[@type='Const']/data")]
    # The largest first, so that what begins like a larger one finds it there.
    for one in sorted(constants, key=lambda one: -int(one["size"])):
        start, size = int(one["offset"]), int(one["size"])
        one["offset"] = str(weights.place(data[start : start + size].tobytes()))
    tree.write(target, xml_declaration=True, encoding="utf-8")
