"""Loads a model ready to serve: its precision and kernel, and a dial in this device's time."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.benchmark.kernel_selection import kernels, remembered_kernel, serving_precision
from latadj.checkpoints import checkpoint
from latadj.checkpoints.embedding_model import cross_encoder_with
from latadj.checkpoints.hub_folder import local_folder
from latadj.checkpoints.metadata import CheckpointMetadata, Device, check
from latadj.config import RERANKING, DeviceConfig
from latadj.devices.device import place
from latadj.elimination.attach import as_plain, attach, attached, dial_of
from latadj.elimination.current_setting import set_speedup
from latadj.elimination.dial import Dial
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.inference.device_dial import on_device
from latadj.inference.fastest_runtime import fastest
from latadj.inference.graph_folder import check_graphs
from latadj.inference.graph_model import GraphModel, load_graphs
from latadj.kernels.linear import DTYPES, KernelSpec
from latadj.kernels.lowering import lower
from latadj.runtime.manifest import is_exported
from latadj.tasks.encoding.batches import max_input_length


def load(
    folder: Path | str,
    *,
    revision: str | None = None,
    speedup: float | None = None,
    max_drop: float | None = None,
    confident: bool = False,
    precision: str | None = DeviceConfig.precision,
    device: str = "cpu",
    head: str | None = None,
    batch: int | None = None,
    length: int | None = None,
    runtime: str | None = None,
) -> Any:
    """Load a saved model with its dial attached, as the commands serve it.

    A speedup is in the time of this device if `latadj calibrate` measured it in this precision; else in FLOPs, with a
    warning.

    Parameters
    ----------
    folder : what `latadj finetune`, `latadj calibrate` or :func:`latadj.save` made, or any fine-tuned transformers
        folder; or graphs that `latadj export` wrote, which run in their own runtime and precision on the CPU; or the
        name of a model on the Hugging Face hub, of which only weights and texts are fetched, no code
    revision : branch, tag or commit of a model on the hub
    speedup : the dial's setting; 1 when left out
    max_drop : in place of ``speedup``: the largest one that loses at most so many points of the metric on validation
        text, as `latadj calibrate` measured it, see :meth:`latadj.Dial.within`
    confident : judge ``max_drop`` by the upper end of the 95% interval, not by the mean
    precision : ``fp32``, ``bf16``, ``int8`` or ``auto``: serve in this precision by the fastest kernel, for
        inference only. None leaves the weights as they are in fp32, to be trained and saved, and the dial in FLOPs.
    device : where the model runs
    head : one of ``latadj.checkpoints.model_class.HEADS``; the saved one when left out
    batch, length : the workload that the time is of: texts of a batch, and tokens of a text. When left out, the
        task's batch size, and the lengths of the calibration texts.
    runtime : ``auto``: in the checkpoint's place the graphs that `latadj calibrate runtime=auto` found to be faster
        here, for so many texts and this speedup, or over all of them; of any precision with ``precision="auto"``

    Returns
    -------
    model (an ordinary transformers model, in eval mode) and tokenizer; of a model that embeds texts a single
    ``SentenceTransformer``, and of a reranker a ``CrossEncoder`` where no ``head`` is named, which have their tokenizer

    Raises
    ------
    ValueError
        if the folder is missing or damaged, holds a model with another head, has no dial and a speedup above 1 or
        ``max_drop`` is given, or its dial does not fit the model, does not reach the speedup or has no drops so small;
        with ``runtime``, if nothing was timed on this device.
    """
    for name, value in (("batch", batch), ("length", length)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: expected a number >= 1, or None for what was calibrated")
    if max_drop is not None and speedup is not None:
        raise ValueError(f"speedup={speedup:g} with max_drop={max_drop:g}: give one of them")
    if confident and max_drop is None:
        raise ValueError("confident=True says how max_drop is judged: give max_drop too")
    folder = local_folder(str(folder), revision)
    if runtime is not None:
        folder, precision = _fastest(runtime, folder, head, precision, device, batch, speedup)
    if is_exported(folder):
        model, tokenizer, metadata = _open_graphs(folder, head, precision, device, batch, length)
    else:
        metadata = check(folder)
        model, tokenizer = checkpoint.load(folder, head=head, metadata=metadata)
        if metadata.dial is None and (speedup not in (None, 1.0) or max_drop is not None):
            raise ValueError(f"checkpoint {folder} has no dial: make one with `{metadata.calibrate(folder)}`")
        model.to(device)
        if precision is not None:
            batch = batch or (metadata.task_spec.batch_size if metadata.task_spec else None)
            make_ready(model, metadata, metadata.dial, model.device, precision=precision, batch=batch, length=length)
    if metadata.dial is not None:
        try:
            if max_drop is not None:
                speedup = dial_of(model).within(max_drop, confident)
            if speedup is not None:
                set_speedup(model, speedup)
        except ValueError as error:
            raise ValueError(f"checkpoint {folder}: {error}") from error
    pipeline, task_spec = pipeline_of(model), metadata.task_spec
    if isinstance(model, GraphModel):
        return (model, tokenizer) if pipeline is None else pipeline
    if head is None and task_spec is not None and task_spec.type == RERANKING:
        longest = min(task_spec.max_length, max_input_length(model.config, tokenizer))
        return cross_encoder_with(model, folder, longest).to(device)
    if pipeline is None:
        return model, tokenizer
    return pipeline.to(device=device, dtype=model.dtype if precision is not None else None)


def _fastest(
    runtime: str,
    folder: Path,
    head: str | None,
    precision: str | None,
    device: str,
    batch: int | None,
    speedup: float | None,
) -> tuple[Path, str]:
    """The folder that :func:`load` reads in a checkpoint's place, and its precision."""
    if runtime != "auto":
        raise ValueError(f"runtime={runtime}: expected auto, or None for the folder that is given")
    if head is not None or precision is None or device != "cpu":
        raise ValueError(
            f"runtime=auto with head={head}, precision={precision}, device={device}: it takes the checkpoint's own "
            "head, a precision to serve in, and the CPU"
        )
    best = fastest(folder, DeviceConfig(precision=precision), torch.device(device), batch=batch, speedup=speedup)
    return best.folder, best.precision


def _open_graphs(
    folder: Path, head: str | None, precision: str | None, device: str, batch: int | None, length: int | None
) -> tuple[GraphModel, PreTrainedTokenizerBase, CheckpointMetadata]:
    """What :func:`load` gives of a folder of graphs, and its metadata."""
    for name, value in (("head", head), ("precision", precision)):
        if (value is None) == (name == "precision"):
            raise ValueError(f"{name}={value}: {folder} holds graphs; load the checkpoint that they were made of")
    metadata = check_graphs(folder, DeviceConfig(name=device, precision=precision or "auto"), "load")
    return *load_graphs(folder, metadata, batch=batch, length=length), metadata


def load_plain(
    folder: Path, *, head: str, device: torch.device, precision: str, metadata: CheckpointMetadata | None = None
) -> PreTrainedModel:
    """The full model of a folder as transformers runs it: in bf16 beside a bf16 dial, else in fp32.

    Parameters
    ----------
    metadata : of the folder, if they have been read already

    Raises
    ------
    ValueError
        as :func:`latadj.checkpoints.checkpoint.load`.
    """
    model, _ = checkpoint.load(folder, head=head, metadata=metadata)
    return as_plain(model).to(device=device, dtype=DTYPES[precision])


def kernel_for(
    model: PreTrainedModel,
    metadata: CheckpointMetadata,
    precision: str,
    device: torch.device,
    kernel: str | None = None,
) -> KernelSpec:
    """The kernel that serves a precision here: the one that calibration found, or the fastest by a layer of the model.

    Parameters
    ----------
    precision : ``auto`` is what calibration chose, else fp32 or bf16, by the time of a layer
    kernel : use this one, for bit-identical outputs of a resumed run; None: as above

    Raises
    ------
    ValueError
        if the precision does not run here.
    """
    known = metadata.devices.get(place(device), Device())
    if precision == "auto":
        precision = known.precision or serving_precision(model, device)
    if kernel is not None:
        return KernelSpec(precision, kernel)
    served = known.serving.get(precision)
    if served is not None and served.kernel in kernels(precision, device):
        return KernelSpec(precision, served.kernel)
    return remembered_kernel(model, precision, device)


def make_ready(
    model: PreTrainedModel,
    metadata: CheckpointMetadata,
    dial: Dial | None,
    device: torch.device,
    *,
    precision: str,
    target: str = "latency",
    batch: int | None = None,
    length: int | None = None,
    kernel: str | None = None,
) -> KernelSpec:
    """Lower a model and attach its dial, in latency where this device was calibrated.

    Parameters
    ----------
    model : in fp32, on ``device``, with elimination attached
    dial : in FLOPs, on the profile type to serve; None leaves the model without one
    target : ``latency`` or ``flops``
    batch, length : the workload; None are those that the device was calibrated for
    kernel : see :func:`kernel_for`

    Returns
    -------
    the kernel that serves it
    """
    spec = kernel_for(model, metadata, precision, device, kernel)
    lower(model, spec, attached(model).reads, dial.levels if dial else ())
    if dial is None:
        return spec
    attach(model, on_device(dial, metadata, spec, device, batch, length) if target == "latency" else dial)
    return spec
