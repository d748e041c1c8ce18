"""latadj extract: the sub-network that a dial runs at one speedup, saved as a smaller model of its own."""

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints import checkpoint
from latadj.checkpoints.attached_model import metadata_of
from latadj.checkpoints.extraction import extract
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.weight_files import read_headers
from latadj.commands.checks import check_extract
from latadj.commands.common.training_stages import say_replaced
from latadj.config import ExtractConfig
from latadj.devices import device
from latadj.devices.environment import environment
from latadj.elimination.attach import attach, dial_of
from latadj.elimination.cost import flops
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.inference.device_dial import on_device
from latadj.inference.serving import kernel_for
from latadj.reporting.table import Document, Table
from latadj.utils.files import write_json
from latadj.utils.serialization import unstructure

log = logging.getLogger("latadj")


@dataclass
class Prepared:
    """A sub-network that is ready to be saved.

    dial : of the whole model, as ``speedup`` is on it
    """

    config: ExtractConfig
    dial: Dial
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def prepare(config: ExtractConfig, checked: CheckpointMetadata | None = None) -> Prepared:
    """Load the checkpoint and take its sub-network away; nothing is written.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them
    """
    metadata = checked or check_extract(config)
    model, tokenizer = checkpoint.load(config.checkpoint, metadata=metadata)
    dial, chosen = dial_of(model), device.choose(config.device)
    if config.dial.target == "latency":
        spec = kernel_for(model, metadata, config.device.precision, chosen)
        batch = config.workload.batch or (metadata.task_spec.batch_size if metadata.task_spec else None)
        dial = on_device(dial, metadata, spec, chosen, batch, config.workload.length)
        attach(model, dial)
    return Prepared(config, dial, extract(model, config.speedup), tokenizer)


def run(prepared: Prepared) -> dict[str, Any]:
    """Save the sub-network.

    Returns
    -------
    what ``extract/extract.json`` holds
    """
    config, dial, model = prepared.config, prepared.dial, prepared.model
    source, target, own = Path(config.checkpoint), Path(config.output), dial_of(model)
    say_replaced([target])
    checkpoint.save(model, prepared.tokenizer, target, metadata_of(model))
    profile = dial.profile(config.speedup)
    sizes = {}
    for name, folder, one in (("full", source, dial), ("extracted", target, own)):
        weights = read_headers(folder)
        mean = flops(one.shapes, Profile.full(one.layers), np.asarray(own.lengths), one.reads, one.protected).mean()
        sizes[name] = {"parameters": weights.parameters, "bytes": weights.bytes, "flops": float(mean)}
    result = {
        "schema": "latadj.extract/1",
        "model": config.model.name,
        "task": config.task.name,
        "speedup": config.speedup,
        "target": dial.target,
        "keep": list(profile.keep),
        "level": unstructure(profile.level),
        "flops_speedup": dial.speedup_of(profile),
        "reach": own.reach(),
        "sizes": sizes,
        "output": str(target),
        "environment": environment(device.choose(config.device), config.device.precision),
        "config": asdict(config),
    }
    write_json(Path(config.folder) / "extract" / "extract.json", result)
    _document(result).print()
    log.info(
        "wrote the model to %s: at speedup=%g, where its own dial ends, it runs as the whole one at %g",
        *(target, math.floor(100 * own.reach()) / 100, config.speedup),
    )
    return result


def _document(result: dict[str, Any]) -> Document:
    """What ``extract.json`` holds, for the terminal."""
    full, extracted = result["sizes"]["full"], result["sizes"]["extracted"]
    rows = [
        (name, f"{scale * full[key]:,.1f}", f"{scale * extracted[key]:,.1f}", f"{extracted[key] / full[key]:.2f}")
        for name, key, scale in (
            ("parameters (millions)", "parameters", 1e-6),
            ("file (MB)", "bytes", 1e-6),
            ("MFLOPs a text, all tokens", "flops", 1e-6),
        )
    ]
    title = f"{result['model']} on {result['task']} at {result['speedup']:g}x, in {result['target']}"
    return Document([Table.of_cells(title, ["", "whole", "extracted", "share"], rows)], [])
