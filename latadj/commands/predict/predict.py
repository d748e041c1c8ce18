"""latadj predict: what a model answers to a stream of texts, at one speedup or within a deadline."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.commands.predict.prepare import Ready, alone, begun, open_stream
from latadj.commands.predict.result import document, exit_code, summary
from latadj.config import PredictConfig
from latadj.inference.streams.engine import Engine
from latadj.inference.streams.finished import result_path
from latadj.inference.streams.layouts import Layout
from latadj.inference.streams.reading import STREAM, Reader, Window, is_stream, windows
from latadj.inference.streams.rows import Row
from latadj.inference.streams.writing import (
    FileOutput,
    Paths,
    PredictState,
    StreamOutput,
    state_to_resume,
)
from latadj.utils.console import on_stderr, progress
from latadj.utils.files import write_json

if TYPE_CHECKING:
    from latadj.commands.predict.on_ray import BlocksReady

__all__ = ["exit_code", "prepare", "run"]

log = logging.getLogger("latadj")
# Broken rows beyond these are in their file only.
BROKEN_SHOWN = 20
Output = FileOutput | StreamOutput


def prepare(config: PredictConfig, checked: CheckpointMetadata | None = None) -> "Ready | BlocksReady":
    """Open the input, and what is to answer it.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them

    Raises
    ------
    ValueError
        if one of them is missing or does not fit, or a deadline is given on a device that was not measured.
    """
    config, checked = begun(config, checked)
    if config.engine == "local":
        return open_stream(config, checked)
    from latadj.commands.predict.on_ray import open_blocks  # a file needs none of its libraries

    return open_blocks(config, checked)


def run(ready: "Ready | BlocksReady") -> dict[str, Any]:
    """Predict all of the input.

    Returns
    -------
    what ``predict/predict.json`` holds
    """
    if isinstance(ready, Ready):
        return _run_stream(ready)
    from latadj.commands.predict.on_ray import run_blocks

    return run_blocks(ready)


def _run_stream(ready: Ready) -> dict[str, Any]:
    """Predict window by window, in the input's order.

    Returns
    -------
    what ``predict/predict.json`` holds
    """
    config = ready.config
    with on_stderr() if config.output == STREAM else alone(Path(config.output), config):
        if ready.plan.finished is not None:
            log.info("%s is finished already, there is nothing to go on with", config.output)
            return ready.plan.finished
        assert ready.engine is not None and ready.kernel is not None
        assert ready.layout is not None and ready.state is not None
        reader, state = ready.plan.reader, ready.state
        assert reader is not None
        _refuse_changed(ready)
        resumed = bool(state.counts["read"])
        output = _open_output(ready.layout, state, config)
        try:
            if not state.complete:
                _stream(reader, output, ready.engine, ready.layout, config)
            broken = output.finish()
        finally:
            output.close()
            reader.close()
        result = summary(ready.engine.model, ready.kernel, ready.plan, state, config, resumed, broken)
        write_json(result_path(config), result)
        output.forget()
        document(result).print()
        if config.output != STREAM:
            broken_rows = f"; broken rows are in {broken}" if broken else ""
            log.info("wrote %s and %s%s", config.output, result_path(config), broken_rows)
    return result


def _refuse_changed(ready: Ready) -> None:
    """Refuse an output that another run has made or gone on with while this one was prepared.

    Raises
    ------
    ValueError
    """
    config, plan = ready.config, ready.plan
    if config.output == STREAM:
        return
    paths = Paths(Path(config.output))
    found = state_to_resume(paths, plan.settings, resume=config.resume, overwrite=config.overwrite)
    assert ready.state is not None
    if (found or PredictState(plan.settings)).position != ready.state.position:
        raise ValueError(f"output={config.output}: another run has gone on here meanwhile; start this one again")


def _open_output(layout: Layout, state: PredictState, config: PredictConfig) -> Output:
    if config.output == STREAM:
        return StreamOutput(layout, state)
    return FileOutput(Paths(Path(config.output)), layout, state, resumable=not is_stream(config.input or ""))


def _stream(reader: Reader, output: Output, engine: Engine, layout: Layout, config: PredictConfig) -> None:
    """Feed the input through the engine; ``output.state`` follows it, window by window."""
    state = output.state
    if state.counts["read"]:
        log.info("going on after %d rows", state.counts["read"])
    reader.seek(state.position)
    with progress("predict", reader.total, "texts") as shown:
        shown.start_at(state.counts["written"], reader.done)
        start, behind = time.perf_counter(), float(reader.done)
        for window in windows(reader, config.window):
            each = (reader.done - behind) / max(len(window.rows), 1)
            engine.tick = partial(shown.advance, each=each)
            _refuse_or_report(window, reader, output, config)
            torch.manual_seed(config.seed + window.end.row)  # a random score draws the same wherever a run began
            data = layout.rows(window.rows, engine(_columns(window.rows))) if window.rows else b""
            now = time.perf_counter()
            _count(state, window, now - start)
            start = now
            if engine.deadline is not None:
                state.deadline = engine.deadline.counts.to_json()
            state.ranges = layout.task.ranges
            output.commit(data, window.rows, window.broken)
            behind = float(reader.done)


def _columns(rows: Sequence[Row]) -> list[list[str]]:
    """The rows' texts, column by column."""
    return [list(column) for column in zip(*(row.texts for row in rows), strict=True)]


def _count(state: PredictState, window: Window, seconds: float) -> None:
    written, broken = len(window.rows), len(window.broken)
    state.counts["read"] += written + broken
    state.counts["written"] += written
    state.counts["broken"] += broken
    state.seconds += seconds
    state.position = window.end


def _refuse_or_report(window: Window, reader: Reader, output: Output, config: PredictConfig) -> None:
    """Say which rows of a window are broken, or stop there.

    Raises
    ------
    ValueError
        with ``on_error=stop``.
    """
    if window.broken and config.on_error == "stop":
        first = window.broken[0]
        go_on = " and resume=true goes on from here" if getattr(output, "resumable", False) else ""
        raise ValueError(f"{reader.name}, {first.where}: {first.broken}; on_error=skip leaves such rows out{go_on}")
    for count, row in enumerate(window.broken, start=output.state.counts["broken"]):
        if count < BROKEN_SHOWN or config.output == STREAM:
            log.warning("%s, %s: %s; left out", reader.name, row.where, row.broken)
        elif count == BROKEN_SHOWN:
            log.warning("%s: more broken rows; all are in %s", reader.name, Paths(Path(config.output)).broken)
