"""The models that `latadj sweep` is to compare, checked without torch and without loading them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.commands.checks import check_protection, require_dial, require_examples
from latadj.commands.common.training_checks import require_trackers
from latadj.config import SweepConfig
from latadj.config.speedups import shown_speedups
from latadj.elimination.dial import Dial
from latadj.utils.files import read_json, real_path, recover_folder

log = logging.getLogger("latadj")


@dataclass(frozen=True)
class ComparedModel:
    """One model of a comparison.

    dial : on the profile type of ``profile=``; None if the model has none, and runs at speedup 1
    speedups : that it may run at, by rising speedup
    """

    name: str
    folder: Path
    metadata: CheckpointMetadata
    dial: Dial | None
    speedups: list[float]


def models_to_compare(config: SweepConfig) -> list[ComparedModel]:
    """The models of ``compare.models``, the plain one first.

    Raises
    ------
    ValueError
        if a folder is missing, damaged or for another task, or there is no dial where a speedup
        is asked for.
    """
    missing = []
    for name, model in config.compare.models.items():
        recover_folder(Path(model.checkpoint))
        if not Path(model.checkpoint).is_dir():
            missing.append(name)
    if missing:
        first = config.compare.models[missing[0]]
        commands = ", then ".join(f"`{command}`" for command in first.make)
        raise ValueError(
            f"compare.models.{missing[0]}: no model in {first.checkpoint}; "
            + (f"make it with {commands} (same model= and task=)" if commands else "name the folder of a saved model")
            + (f"; missing too: {', '.join(missing[1:])}" if missing[1:] else "")
        )
    return [_compared(config, name) for name in config.compare.models]


def check_sweep(config: SweepConfig) -> CheckpointMetadata | list[ComparedModel]:
    """Refuse a checkpoint without the dial that is needed, models that cannot be compared, or missing examples.

    Raises
    ------
    ValueError
    """
    checked = models_to_compare(config) if config.compare.models else require_dial(config, config.speedup)
    require_trackers(config.report_to)
    require_examples(config.task)
    return checked


def warn_of_other_runs(models: Sequence[ComparedModel]) -> None:
    """Warn of models that come from another fine-tuning than the first: more than pruning sets them apart."""
    first, *rest = models
    origins = (None, first.metadata.origin)
    if others := [model.name for model in rest if first.metadata.origin and model.metadata.origin not in origins]:
        log.warning(
            "%s: of another fine-tuning than %s, so that what is lost or gained is not of pruning and dial alone",
            *(", ".join(others), first.name),
        )


def _compared(config: SweepConfig, name: str) -> ComparedModel:
    model = config.compare.models[name]
    folder, speedups = Path(model.checkpoint), sorted(model.speedup)
    metadata = check(folder, config.task)
    dial = metadata.dial
    if dial is None and speedups[-1] > 1:
        raise ValueError(
            f"compare.models.{name}.speedup={shown_speedups(model.speedup)}: checkpoint {folder} has no dial; make one "
            f"with `latadj calibrate checkpoint={folder}` (same options)"
        )
    if dial is not None:
        check_protection(dial, config.task)
        dial = dial.with_profile_type(config.profile) if config.profile else dial
        dial.profile(speedups[0])
    return ComparedModel(name, folder, metadata, dial, speedups)


def candidates_of(path: Path, models: Sequence[Path]) -> list[dict[str, object]]:
    """The candidates of `latadj prune`, from its result; none if it made none of ``models``.

    Raises
    ------
    ValueError
        if the file is damaged.
    """
    if not path.is_file():
        return []
    mend = "run `latadj prune` again"
    result = read_json(path, "pruning result", mend)
    try:
        made = {real_path(model["folder"]) for model in result["frontier"]}
        candidates = list(result["candidates"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: this pruning result lacks its models or candidates; {mend}") from error
    if not made & {real_path(model) for model in models}:
        log.warning("%s is of a pruning that made none of these models: its candidates are left out", path)
        return []
    return candidates
