"""The page of a model on the Hugging Face hub, with what was measured of its dial."""

import logging
from pathlib import Path
from typing import Any

from latadj.checkpoints.metadata import METADATA_FILE, CheckpointMetadata
from latadj.reporting.results.dial_sweep import DialSweep
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.sweep import Sweep
from latadj.utils.files import load_json

log = logging.getLogger("latadj")
_SWEEPS: dict[str, type[DialSweep]] = {kind.SCHEMA: kind for kind in (Sweep, GenerationSweep)}
_PIPELINES = {"classification": "text-classification", "token_classification": "token-classification"}
_PIPELINES |= {"question_answering": "question-answering", "generation": "text-generation"}
_PIPELINES |= {"embedding": "sentence-similarity", "reranking": "text-ranking"}


def sweep_of(folder: Path, metadata: CheckpointMetadata) -> DialSweep | None:
    """The sweep in the run folder that a checkpoint lies in, if it is of this checkpoint."""
    path = folder.parent / "sweep" / "sweep.json"
    if not path.is_file():
        return None
    try:
        data = load_json(path)
        kind = _SWEEPS.get(str(data.get("schema"))) if isinstance(data, dict) else None
        sweep = None if kind is None else kind.from_json(data)
    except ValueError as error:
        log.warning("%s is damaged, so the model card has no table of it: %s", path, error)
        return None
    if sweep is None or sweep.task != metadata.task or not _same(Path(str(sweep.config.get("checkpoint"))), folder):
        return None
    files = [*folder.glob("*.safetensors"), folder / METADATA_FILE]  # calibration writes the last alone
    if path.stat().st_mtime < max(file.stat().st_mtime for file in files if file.is_file()):
        log.warning("%s is older than the weights or the dial, so the model card has no table of it", path)
        return None
    return sweep


def _same(recorded: Path, folder: Path) -> bool:
    """Whether the folder is the one that was recorded, or could be, where that has moved."""
    return recorded.resolve() == folder.resolve() if recorded.exists() else recorded.name == folder.name


def model_card(
    name: str,
    metadata: CheckpointMetadata,
    sweep: DialSweep | None,
    license_name: str | None,
    revision: str | None = None,
) -> str:
    """The card: what the model is, how its dial is used, and what a sweep measured.

    Parameters
    ----------
    name : of the repository
    sweep : None where nothing was measured
    license_name : as the hub spells it; None where nobody said it
    revision : branch that the model lies on; None: the main one
    """
    from huggingface_hub import ModelCardData

    spec = metadata.task_spec
    base = (sweep.config.get("model") or {}).get("path") if sweep else None
    facts: dict[str, Any] = {
        "license": license_name,
        "library_name": "transformers",
        "pipeline_tag": _PIPELINES.get(spec.type) if spec else None,
        "base_model": base if base and base.count("/") == 1 and not base.startswith((".", "/", "~")) else None,
        "tags": ["latadj", "token-pruning", "latency"],
    }
    head = ModelCardData(**{key: value for key, value in facts.items() if value is not None}).to_yaml()
    parts = [
        f"---\n{head}\n---",
        f"# {name.rpartition('/')[2]}",
        _about(metadata),
        _usage(name, metadata, revision),
        "## Measured",
    ]
    if sweep is None:
        parts.append("Nobody has measured this model's dial in a sweep yet: `latadj sweep` does.")
    else:
        table = sweep.document().tables[0]
        parts += [f"By `latadj sweep`, on {_device(sweep)}.", table.markdown()]
    return "\n\n".join(parts).rstrip() + "\n"


def _about(metadata: CheckpointMetadata) -> str:
    dial, what = metadata.dial, f" for {metadata.task}" if metadata.task else ""
    if dial is None:
        return f"A transformers model{what}, saved by latadj without a dial."
    return (
        f"A transformers model{what} with a latency dial from 1x to {dial.max_speedup:g}x: one checkpoint, whose speed "
        "is changed by eliminating tokens that contribute little, without training it again."
    )


def _usage(name: str, metadata: CheckpointMetadata, revision: str | None) -> str:
    at = "" if metadata.dial is None else f", speedup={min(2.0, metadata.dial.max_speedup):g}"
    turn = [] if metadata.dial is None else ["latadj.set_speedup(model, 1)  # the whole model"]
    branch = "" if revision is None else f', revision="{revision}"'
    load = f'model, tokenizer = latadj.load("{name}"{branch}{at})'
    lines = ["```bash", "pip install latadj", "```", "", "```python", "import latadj", "", load, *turn, "```"]
    plain = f'Without latadj, `from_pretrained("{name}"{branch})` of transformers gives the whole model.'
    return "\n".join(["## Use", "", *lines, "", plain])


def _device(sweep: DialSweep) -> str:
    where = sweep.environment
    packages = where.get("packages") or {}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    facts = [
        where["processor"],
        f"{where['threads']} threads",
        where["precision"],
        versions,
        where.get("time", "")[:10],
    ]
    return ", ".join(fact for fact in facts if fact)
