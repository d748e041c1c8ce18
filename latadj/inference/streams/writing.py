"""Predictions in an output that survives being killed at any moment.

Beside ``predictions.csv`` grow ``predictions.csv.part`` and ``predictions.csv.broken.csv.part``, and beside a file of
vectors alone a table of their rows. After each window all are synced to the disk, and only then
``predictions.csv.state.json`` says how long they are and where the reader stands. A run that goes on cuts off what was
written after that, so no row is lost and none is there twice. In the end the parts become the files themselves.
"""

import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar

from latadj.inference.streams.layouts import Layout, broken_header, broken_rows
from latadj.inference.streams.ranges import Ranges
from latadj.inference.streams.rows import Place, Row, RowCounts, StreamPosition
from latadj.utils.run_state import RunState, remove_matching
from latadj.utils.serialization import Like, NotNegative

# Of vectors alone: what they hold has neither labels nor texts.
NPY, PARQUET = "npy", "parquet"
VECTOR_KINDS = (NPY, PARQUET)
SUFFIXES = {
    **{".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"},
    **{".npy": NPY, ".parquet": PARQUET, ".pq": PARQUET},
}
RESTART = "overwrite=true starts anew"
SERVED_ON = {"place", "precision", "kernel"}


def output_format(output: str) -> str:
    """The format of an output by its suffix; of standard output CSV.

    Raises
    ------
    ValueError
        if the suffix is another one.
    """
    if output == "-":
        return "csv"
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"output={output}: expected a name that ends in {', '.join(SUFFIXES)}, or - for standard output"
        )
    return SUFFIXES[suffix]


@dataclass
class PredictState(RunState):
    """How far a run has come.

    settings : what its output depends on
    serving : ``place``, ``precision`` and ``kernel`` that it ran on
    position : where the reader stands
    bytes : of the output and of the list of broken rows, and of the table of rows where there is one
    counts : rows ``read``, ``written``, ``broken``
    seconds : of reading, predicting and writing, over all the runs
    deadline : what :class:`latadj.inference.deadline_counts.DeadlineCounts` counted; empty without a deadline
    ranges : of vectors of 8 bits, once they are known
    complete : whether nothing is left but the renaming
    """

    SCHEMA: ClassVar[str] = "latadj.predict-state/3"
    LABEL: ClassVar[str] = "record of an interrupted run"
    DAMAGED: ClassVar[str] = "not the {label} ({error})"
    RESTART: ClassVar[str] = RESTART

    serving: dict[str, str] = field(default_factory=dict)
    position: StreamPosition = field(default_factory=StreamPosition)
    bytes: tuple[Place, ...] = (0, 0)
    counts: Annotated[dict[str, int], Like(RowCounts)] = field(
        default_factory=lambda: {"read": 0, "written": 0, "broken": 0}
    )
    seconds: NotNegative = 0.0
    deadline: dict[str, Any] = field(default_factory=dict)
    ranges: Ranges | None = None
    complete: bool = False

    def __post_init__(self) -> None:
        if self.serving and not self.serving.keys() >= SERVED_ON:
            raise ValueError(f"serving: expected {', '.join(sorted(SERVED_ON))}")
        read, done = self.counts["read"], self.counts["written"] + self.counts["broken"]
        if not read == done == self.position.row:
            raise ValueError(f"counts: {read} rows read, {done} of them done, the reader behind {self.position.row}")


class Paths:
    """The files of one output."""

    def __init__(self, final: Path) -> None:
        self.final, self.part = final, Path(f"{final}.part")
        self.broken, self.broken_part = Path(f"{final}.broken.csv"), Path(f"{final}.broken.csv.part")
        self.rows, self.rows_part = Path(f"{final}.rows.csv"), Path(f"{final}.rows.csv.part")
        self.ranges = Path(f"{final}.ranges.npy")
        self.state, self.lock = Path(f"{final}.state.json"), Path(f"{final}.lock")
        self.all = (self.final, self.part, self.broken, self.broken_part, self.state, self.lock)
        self.of_vectors = (self.rows, self.rows_part, self.ranges)


def state_to_resume(paths: Paths, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> PredictState | None:
    """The state to resume from; None: the run is new.

    Raises
    ------
    ValueError
        if there is an output that may not be overwritten, or an interrupted run with other settings.
    """
    if resume and overwrite:
        raise ValueError("resume=true with overwrite=true: the one goes on, the other starts anew; give one of them")
    if overwrite:
        return None
    if not paths.state.exists():
        if paths.final.exists():
            raise ValueError(f"output={paths.final} exists already: give another name, or overwrite=true")
        return None
    state = PredictState.read(paths.state)
    if not resume:
        behind = f"a run was interrupted after {state.counts['read']} rows"
        raise ValueError(f"output={paths.final}: {behind}: resume=true goes on, {RESTART}")
    if changed := state.changed(settings):
        what = "; ".join(f"{name} was {state.settings.get(name)} and is {settings[name]}" for name in changed)
        raise ValueError(f"resume=true: {what}; go on with what the first rows were made with, or {RESTART}")
    return state


class FileOutput:
    """Predictions that grow in a part file.

    Parameters
    ----------
    state : where the run begins or goes on; :meth:`commit` keeps it up to date
    resumable : whether it can be gone on with; the rows of standard input can not be read again
    """

    def __init__(self, paths: Paths, layout: Layout, state: PredictState, *, resumable: bool) -> None:
        self.paths, self.layout, self.state, self.resumable = paths, layout, state, resumable
        paths.final.parent.mkdir(parents=True, exist_ok=True)
        self._beside = [(paths.broken_part, paths.broken)] + [(paths.rows_part, paths.rows)] * layout.indexed
        self._files: list[BinaryIO] = []
        if state.complete:
            return
        remove_matching(paths.final.parent, f".{glob.escape(paths.state.stem)}-*")  # of a run that was killed
        parts = [paths.part, *(part for part, _ in self._beside)]
        begins = not any(state.bytes)
        if begins:
            paths.state.unlink(missing_ok=True)  # of a run that is overwritten: its parts go next
            state.bytes = (0,) * len(parts)
        if len(state.bytes) != len(parts):
            raise ValueError(f"{paths.state}: bytes: {len(state.bytes)} files, expected {len(parts)}; {RESTART}")
        self._files = [_opened(part, size) for part, size in zip(parts, state.bytes, strict=True)]
        if begins:
            self._write(layout.header(), broken_header(), *[layout.index_header()] * layout.indexed)

    def commit(self, data: bytes, rows: Sequence[Row], broken: Sequence[Row]) -> None:
        """Add a window; ``state`` says all but how many bytes that makes.

        Parameters
        ----------
        data : its answers, as they are written
        rows, broken : those that were answered, and the others
        """
        index = [self.layout.index(rows)] if self.layout.indexed else []
        self._write(data, broken_rows(broken, escape=self.layout.escape), *index)

    def _write(self, *parts: bytes) -> None:
        for file, part in zip(self._files, parts, strict=True):
            file.write(part)
            file.flush()
            os.fsync(file.fileno())
        self.state.bytes = tuple(file.tell() for file in self._files)
        self._remember()

    def _remember(self) -> None:
        if self.resumable:
            self.state.write(self.paths.state)

    def finish(self) -> Path | None:
        """Make the files of the parts; returns the list of broken rows, if there are any. :meth:`forget` comes last."""
        if not self.state.complete:
            self.close()
            self.state.complete = True
            self._remember()
        broken = bool(self.state.counts["broken"])
        if not broken:
            self.paths.broken_part.unlink(missing_ok=True)
            self.paths.broken.unlink(missing_ok=True)  # of an output that was overwritten
        if self.state.ranges is not None:
            self.state.ranges.leave(self.paths.ranges)
        else:
            self.paths.ranges.unlink(missing_ok=True)  # of an output that was overwritten
        for part, final in self._beside:
            if part.exists():
                part.replace(final)
        if self.paths.part.exists():
            self.layout.publish(self.paths.part, self.paths.final, self.state.counts["written"])
        return self.paths.broken if broken else None

    def forget(self) -> None:
        """Remove the state of a run that is finished."""
        self.paths.state.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the parts, which stay."""
        for file in self._files:
            file.close()


def _opened(path: Path, size: int) -> BinaryIO:
    """A part file, cut to ``size`` bytes, open for writing behind them.

    Raises
    ------
    ValueError
        if it is shorter: somebody else changed it.
    """
    file = path.open("r+b" if size else "wb")
    if file.seek(0, os.SEEK_END) < size:
        file.close()
        raise ValueError(f"{path} is shorter than the run left it, so it can not be gone on with; {RESTART}")
    file.truncate(size)
    file.seek(size)
    return file


class StreamOutput:
    """Predictions on standard output."""

    def __init__(self, layout: Layout, state: PredictState) -> None:
        self.state = state
        self._write(layout.header())

    def commit(self, data: bytes, rows: Sequence[Row], broken: Sequence[Row]) -> None:
        """Write a window's answers; broken rows are in the log."""
        self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            # What is left in the buffer has nowhere to go when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise ValueError("output=-: who read standard output has closed it") from error

    def finish(self) -> None:
        """All is written."""

    def forget(self) -> None:
        """There is no state."""

    def close(self) -> None:
        """Standard output stays open."""
