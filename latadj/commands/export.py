"""latadj export: a model as graphs for other runtimes, with its dial as an input or at one speedup."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.weight_files import read_headers
from latadj.commands.common.exported_checks import check_export
from latadj.config import ExportConfig
from latadj.devices import device
from latadj.devices.environment import environment
from latadj.elimination.attach import dial_of
from latadj.export.folder import check_exportable, export_folder
from latadj.reporting.table import Document, Table
from latadj.utils.files import write_json
from latadj.utils.serialization import unstructure

log = logging.getLogger("latadj")


@dataclass
class Prepared:
    """A model that is ready to be written as graphs."""

    config: ExportConfig
    metadata: CheckpointMetadata
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    texts: list[str]


def prepare(config: ExportConfig, checked: CheckpointMetadata | None = None) -> Prepared:
    """Load the checkpoint and refuse what no graph can be; nothing is written.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them
    """
    metadata = checked or check_export(config)
    model, tokenizer = checkpoint.load(config.checkpoint, metadata=metadata)
    check_exportable(model, dial_of(model), config.opset)
    return Prepared(config, metadata, model, tokenizer, _texts(config))


def _texts(config: ExportConfig) -> list[str]:
    """The texts of ``texts=``, without empty lines.

    Raises
    ------
    ValueError
        if the file is missing or holds none.
    """
    if config.texts is None:
        return []
    try:
        lines = Path(config.texts).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"texts={config.texts}: cannot be read ({error})") from error
    found = [line for line in lines if line.strip()]
    if not found:
        raise ValueError(f"texts={config.texts}: no text in it; expected one a line")
    return found


def run(prepared: Prepared) -> dict[str, Any]:
    """Write the graphs.

    Returns
    -------
    what ``export/export.json`` holds
    """
    config, target, dial = prepared.config, Path(prepared.config.output), dial_of(prepared.model)
    exported = export_folder(
        prepared.model,
        prepared.tokenizer,
        prepared.metadata,
        dial,
        target,
        opset=config.opset,
        format=config.format,
        speedup=config.speedup,
        precision=config.precision,
        texts=prepared.texts,
    )
    result = {
        "schema": "latadj.export-run/1",
        "model": config.model.name,
        "task": config.task.name,
        "manifest": unstructure(exported.manifest),
        "bytes": {"checkpoint": read_headers(Path(config.checkpoint)).bytes, "graphs": exported.bytes},
        "output": str(target),
        "environment": environment(device.choose(config.device), config.precision),
        "config": asdict(config),
    }
    write_json(Path(config.folder) / "export" / "export.json", result)
    _document(result).print()
    log.info("wrote the graphs to %s", target)
    return result


def _document(result: dict[str, Any]) -> Document:
    """What ``export.json`` holds, for the terminal."""
    manifest, sizes = result["manifest"], result["bytes"]
    at = "at any speedup" if manifest["speedup"] is None else f"at {manifest['speedup']:g}x"
    rows = [(one["file"], "whole" if one["level"] is None else _width(one["level"])) for one in manifest["graphs"]]
    title = f"{result['model']} on {result['task']} {at}, {manifest['precision']}: {sizes['graphs'] / 1e6:,.1f} MB"
    return Document([Table.of_cells(title, ["graph", "heads and neurons of the first layer"], rows)], [])


def _width(level: dict[str, Any]) -> str:
    return f"{level['heads'][0]} and {level['neurons'][0]}"
