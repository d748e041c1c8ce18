"""What commands that use a checkpoint refuse before torch is imported; some have checks in their packages.

Each returns the metadata that it read, which the command's ``prepare`` takes, so that they are read once.
"""

from dataclasses import replace
from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.checkpoints.replaceable import check_replaceable
from latadj.checkpoints.task_spec import type_of
from latadj.config import (
    EMBEDDING,
    GENERATION,
    RERANKING,
    CalibrateConfig,
    CommandConfig,
    EvalConfig,
    ExplainConfig,
    ExportConfig,
    ExtractConfig,
    GenerateConfig,
    TaskConfig,
)
from latadj.elimination.dial import Dial
from latadj.runtime.manifest import Manifest
from latadj.tasks.data.paths import require_files
from latadj.utils import hub
from latadj.utils.files import real_path


def require_examples(task: TaskConfig) -> None:
    """Refuse files that are not there, and a data set of the hub that is neither there nor in the cache.

    Raises
    ------
    ValueError
    """
    require_files(task)
    if task.hub and not (task.data_dir or task.data_files):
        hub.require_data(task.hub.path)


# What follows the name of a checkpoint that `latadj explain` cannot show.
GENERATES = "is a language model, and explain shows what a classifier reads: `latadj generate` counts its survivors"
EMBEDS = "embeds texts, and explain shows what a classifier reads; `latadj sweep task=sts` compares its embeddings"


def uses_pretrained(config: CommandConfig) -> bool:
    """Whether a command takes a language model as it is, since nobody made a checkpoint."""
    return config.generates and not Path(config.checkpoint).exists()


def require_dial(config: CommandConfig, speedups: list[float]) -> CheckpointMetadata:
    """Metadata of the command's checkpoint, its dial on the profile type of ``profile=``, which reaches ``speedups``.

    Raises
    ------
    ValueError
        if there is no dial, or a speedup is off it.
    """
    metadata = check(Path(config.checkpoint), config.task)
    if metadata.dial is None:
        raise ValueError(f"checkpoint {config.checkpoint} has no dial: make one with `latadj calibrate` (same options)")
    check_protection(metadata.dial, config.task)
    return _on_profile(metadata, metadata.dial, getattr(config, "profile", None), speedups)


def _on_profile(
    metadata: CheckpointMetadata, dial: Dial, profile_type: str | None, speedups: list[float]
) -> CheckpointMetadata:
    """The metadata with the dial on a profile type; None: its own. Refuses speedups that are off it."""
    dial = dial.with_profile_type(profile_type) if profile_type else dial
    for speedup in speedups:
        dial.profile(speedup)
    return replace(metadata, dial=dial)


def check_protection(dial: Dial, task: TaskConfig) -> None:
    """Refuse a dial that was made with the question or query protected where it is not now, or the other way round.

    Raises
    ------
    ValueError
    """
    made = dial.protected > 0
    if task.type in ("question_answering", RERANKING) and task.protect_query != made:
        raise ValueError(
            f"task.protect_query={str(task.protect_query).lower()}: this checkpoint's dial was made with "
            f"{str(made).lower()}, and its speedups hold for that only: give the same, or make a dial with "
            "`latadj calibrate`"
        )


def check_generate(config: GenerateConfig) -> CheckpointMetadata | None:
    """Metadata of the checkpoint that `latadj generate` runs; None if it runs the pretrained model.

    Raises
    ------
    ValueError
        if a speedup above 1 is given and there is no dial, it is off the dial, or the model is missing.
    """
    folder, speedup = Path(config.checkpoint), config.speedup
    make = f"make one with `latadj calibrate model={config.model.name} task={config.task.name}`"
    if not folder.is_dir():
        if speedup != 1.0:
            raise ValueError(f"speedup={speedup:g} needs a dial, and there is no checkpoint {folder}: {make}")
        hub.model_source(config.model.path)
        return None
    metadata = check(folder)
    if metadata.dial is not None:
        return _on_profile(metadata, metadata.dial, config.profile, [speedup])
    if speedup != 1.0:
        raise ValueError(f"speedup={speedup:g} needs a dial, and checkpoint {folder} has none: {make}")
    return metadata


def check_explain(config: ExplainConfig) -> CheckpointMetadata:
    """Metadata of the model that `latadj explain` runs, its dial on the profile type of ``profile=``.

    Raises
    ------
    ValueError
        if there is no such model or no dial, or the speedup is off it.
    """
    metadata = check(Path(config.checkpoint))
    task_type = type_of(Path(config.checkpoint), metadata.task_spec)
    if task_type in (GENERATION, EMBEDDING):
        raise ValueError(f"checkpoint {config.checkpoint} {GENERATES if task_type == GENERATION else EMBEDS}")
    return with_dial(config, metadata)


def check_extract(config: ExtractConfig) -> CheckpointMetadata:
    """Metadata of the model that `latadj extract` cuts, its dial on the profile type of ``profile=``.

    Raises
    ------
    ValueError
        if there is no such model or no dial, the speedup is off it, or ``output`` holds something that would be lost.
    """
    folder = Path(config.checkpoint)
    metadata = check(folder)
    if type_of(folder, metadata.task_spec) == EMBEDDING:
        raise ValueError(
            f"checkpoint {config.checkpoint} embeds texts, and sentence-transformers loads whole models only: turn its "
            "dial with `latadj.load(folder, speedup=...)`"
        )
    metadata = with_dial(config, metadata)
    if real_path(config.output) == real_path(folder):
        raise ValueError(f"output={config.output}: the checkpoint itself; give the smaller model another folder")
    check_replaceable("output", config.output, [folder, Path(config.folder), Path(config.folder) / "extract"])
    return metadata


def with_dial(config: ExplainConfig | ExtractConfig | ExportConfig, metadata: CheckpointMetadata) -> CheckpointMetadata:
    """The metadata of a command's checkpoint with its dial as the command turns it."""
    if metadata.dial is None:
        make = f"`latadj calibrate checkpoint={config.checkpoint}`"
        raise ValueError(f"checkpoint {config.checkpoint} has no dial: make one with {make} (same task=)")
    return _on_profile(metadata, metadata.dial, config.profile, [config.speedup or 1.0])


def check_calibrate(config: CalibrateConfig) -> CheckpointMetadata | None:
    """Refuse a checkpoint, or the language model in its place, or examples that are missing.

    Raises
    ------
    ValueError
    """
    metadata = None
    if config.runtime not in (None, "auto"):
        Manifest.read(Path(config.exported))
        return None
    if config.runtime == "auto":
        return require_dial(config, [])
    if uses_pretrained(config):
        hub.model_source(config.model.path)
    else:
        metadata = check(Path(config.checkpoint), config.task)
    if config.reads_text:
        require_examples(config.task)
    return metadata


def check_eval(config: EvalConfig) -> CheckpointMetadata:
    """Refuse a checkpoint without a dial, a speedup that is off it, or examples that are missing.

    Raises
    ------
    ValueError
    """
    metadata = require_dial(config, [config.speedup])
    require_examples(config.task)
    return metadata
