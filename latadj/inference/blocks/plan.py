"""What `latadj predict engine=ray` is about to do, found out without torch and without a cluster."""

import hashlib
import json
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import PredictConfig
from latadj.inference.blocks.run_state import BROKEN, STATE, BlocksState
from latadj.inference.blocks.storage import TEMPORARY, Storage
from latadj.inference.streams.finished import finished_result
from latadj.inference.streams.plan import ModelPlan, column_options, plan_model, settings_of
from latadj.inference.streams.reading import FORMATS, SUFFIXES
from latadj.inference.streams.rows import ColumnOptions
from latadj.utils.files import real_path

SUFFIX = ".parquet"


@dataclass
class BlocksPlan(ModelPlan):
    """What a run starts from.

    source, output : the two folders
    files : names of those that are read
    kind : their format
    options : of their columns
    settings : what the output depends on
    state : of a run to go on with
    finished : the result of such a run that left nothing to do
    """

    source: Storage
    output: Storage
    files: list[str]
    kind: str
    options: ColumnOptions
    settings: dict[str, Any]
    state: BlocksState | None
    finished: dict[str, Any] | None


def check_blocks(config: PredictConfig) -> CheckpointMetadata:
    """Refuse what can be refused before anything is loaded; returns the checkpoint's metadata.

    Raises
    ------
    ValueError
    """
    if find_spec("ray") is None:
        raise ValueError("engine=ray needs Ray Data: pip install 'latadj[ray]'")
    return plan_blocks(config).metadata


def plan_blocks(config: PredictConfig, metadata: CheckpointMetadata | None = None) -> BlocksPlan:
    """Find checkpoint, dial, files and columns, and an interrupted run if there is one; writes nothing.

    Parameters
    ----------
    metadata : of the checkpoint, if they have been read already

    Raises
    ------
    ValueError
        if one of them is missing or does not fit.
    """
    if not config.input:
        raise ValueError("no input: give a folder, as in `latadj predict engine=ray input=texts output=labels`")
    source, output = Storage(config.input, "input"), Storage(config.output, "output")
    plan = plan_model(config, metadata)
    stamps = source.files()
    kind = _kind(config, list(stamps))
    _refuse_inside(source, output)
    options = replace(column_options(config, plan), keep=True)
    reader = source.reader(next(iter(stamps)), kind, options)
    columns = reader.columns
    reader.close()
    settings = settings_of(config, plan, _input_stamp(source, stamps), kind, columns)
    settings["ray.block_rows"] = config.ray.block_rows
    # Until it is known what runs, nobody can say whether a run before this one did the same.
    state = None if config.runtime == "auto" else _state(config, output, settings)
    return BlocksPlan(
        **vars(plan),
        source=source,
        output=output,
        files=list(stamps),
        kind=kind,
        options=options,
        settings=settings,
        state=state,
        finished=_finished(config, output, settings) if state is not None and state.counts is not None else None,
    )


def _kind(config: PredictConfig, names: list[str]) -> str:
    """The format of the files."""
    if config.format is not None:
        if config.format not in FORMATS:
            raise ValueError(f"format={config.format}: expected one of {', '.join(FORMATS)}")
        kinds = {config.format}
    else:
        found = {name: SUFFIXES.get(PurePosixPath(name).suffix.lower()) for name in names}
        if other := next((name for name, kind in found.items() if kind is None), None):
            raise ValueError(
                f"input={config.input}: the suffix of {other} does not say its format: add format={'|'.join(FORMATS)}"
            )
        kinds = {kind for kind in found.values() if kind}
    if not names:
        raise ValueError(f"input={config.input}: there are no files in it")
    if len(kinds) > 1:
        raise ValueError(
            f"input={config.input}: its files have several formats ({', '.join(sorted(kinds))}): give a folder of one"
        )
    return kinds.pop()


def _refuse_inside(source: Storage, output: Storage) -> None:
    """Refuse an output that would be read, or that would write over what is read."""
    ends = [str(real_path(one.root)) if one.local else one.root for one in (source, output)]
    if ends[0] == ends[1] or ends[1].startswith(f"{ends[0]}/") or ends[0].startswith(f"{ends[1]}/"):
        raise ValueError(f"output={output.url}: it lies in the input, or the input in it; name another folder")


def _input_stamp(source: Storage, stamps: dict[str, str]) -> str:
    """What tells the files from others, and from what they were before."""
    digest = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]
    return f"{source.path('')} ({len(stamps)} files, {digest})"


def _state(config: PredictConfig, output: Storage, settings: dict[str, Any]) -> BlocksState | None:
    """The state of a run to go on with; None: the run is new.

    Raises
    ------
    ValueError
        if there is something in the folder that may not be overwritten, or a run with other settings.
    """
    if config.resume and config.overwrite:
        raise ValueError("resume=true with overwrite=true: the one goes on, the other starts anew; give one of them")
    names = output.names()
    ours = {STATE, BROKEN, TEMPORARY}
    if other := next((name for name in names if name not in ours and not _is_block(name)), None):
        raise ValueError(f"output={config.output}: it holds {other}, which predict did not write; name another folder")
    if config.overwrite or not names:
        return None
    if STATE not in names:
        raise ValueError(
            f"output={config.output}: it holds blocks of an unknown run: name another folder, or overwrite=true"
        )
    state = BlocksState.of(output)
    if changed := state.changed(settings):
        what = "; ".join(f"{name} was {state.settings.get(name)} and is {settings[name]}" for name in changed)
        raise ValueError(
            f"output={config.output}: it holds blocks of another run: {what}; name another folder, or overwrite=true"
        )
    if not config.resume:
        raise ValueError(
            f"output={config.output}: it holds blocks of such a run: resume=true goes on, {BlocksState.RESTART}"
        )
    return state


def _finished(config: PredictConfig, output: Storage, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The result of such a run whose blocks are all there still; None: there is something to go on with."""
    result = finished_result(config, settings)
    there = sum(_is_block(name) for name in output.names())
    return result if result is not None and result.get("blocks") == there else None


def _is_block(name: str) -> bool:
    return name.startswith("part-") and name.endswith(SUFFIX)
