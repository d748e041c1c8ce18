"""What a process does that answers blocks: open the model once, then read, answer and write block after block."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from pyarrow import parquet

from latadj.config import PredictConfig
from latadj.inference.blocks.columns import block_table, output_schema
from latadj.inference.blocks.plan import SUFFIX
from latadj.inference.blocks.run_state import BROKEN
from latadj.inference.blocks.storage import Storage, UnreachableError
from latadj.inference.blocks.survey import Block
from latadj.inference.streams.opening import Opened, open_model
from latadj.inference.streams.reading import Reader, windows
from latadj.inference.streams.rows import ColumnOptions, Row
from latadj.utils.csv_text import csv_text

# Metadata of a block's file.
RUN, COUNTS = b"latadj.run", b"latadj.rows"
# Broken rows beyond these are in their file only.
BROKEN_SHOWN = 20


@dataclass(frozen=True)
class BlocksJob:
    """What all blocks have in common; it is sent to every process.

    config : its paths are absolute
    kept : the input's columns
    run : marks the blocks
    serving : what the run began on; empty where it begins now
    """

    config: PredictConfig
    source: Storage
    output: Storage
    kind: str
    options: ColumnOptions
    kept: pa.Schema
    run: str
    serving: dict[str, str]


@dataclass
class Outcome:
    """What became of a block.

    broken_shown : some of its broken rows, as a log line says them
    refused : why the run cannot go on
    resumable : whether it can where it stopped, once that is mended
    """

    block: str
    written: int = 0
    broken: int = 0
    broken_shown: tuple[str, ...] = ()
    seconds: float = 0.0
    refused: str | None = None
    resumable: bool = False

    @property
    def read(self) -> int:
        """Rows of the block."""
        return self.written + self.broken


class BrokenRowError(ValueError):
    """A row that on_error=stop does not pass."""


class DamagedBlockError(ValueError):
    """A block that is there and cannot be read."""


class BlockWorker:
    """Answers blocks with one model. What a user can mend is in the outcome; what is raised is a fault.

    Parameters
    ----------
    job : what all blocks have in common
    """

    def __init__(self, job: BlocksJob) -> None:
        self.job, self.refused = job, None
        try:
            self.opened: Opened = open_model(job.config, job.serving)
            engine = self.opened.engine
            self.schema = output_schema(job.kept, engine.task.arrow_types(engine.model, engine.tokenizer))
        except (ValueError, OSError) as error:
            self.refused = str(error)

    def __call__(self, block: Block) -> Outcome:
        """Answer a block and write it, unless it has been written already."""
        if self.refused is not None:
            return Outcome(block.name, refused=self.refused, resumable=True)
        try:
            done = written_block(self.job.output, block.name, self.job.run)
            return done if done is not None else self._answered(block)
        except (ValueError, OSError) as error:
            passing = isinstance(error, (OSError, UnreachableError, BrokenRowError, DamagedBlockError))
            return Outcome(block.name, refused=str(error), resumable=passing)

    def _answered(self, block: Block) -> Outcome:
        job, start = self.job, time.perf_counter()
        outcome = Outcome(block.name)
        lines: list[list[Any]] = [["file", "row", "line", "reason"]]
        reader = job.source.reader(block.file, job.kind, job.options)
        try:
            reader.seek(block.start)
            with (
                job.output.writing(block.name + SUFFIX) as file,
                parquet.ParquetWriter(file, self.schema.with_metadata({RUN: job.run})) as writer,
            ):
                for window in windows(reader, job.config.window, block.rows):
                    # A random score draws the same wherever a run began.
                    torch.manual_seed(job.config.seed + window.end.row)
                    writer.write_table(self._table(block.file, window.rows))
                    outcome.written += len(window.rows)
                    outcome.broken += len(window.broken)
                    self._note(reader, window.broken, outcome)
                    lines += [[block.file, row.number, row.line or row.number, row.broken] for row in window.broken]
                if outcome.read != block.rows:
                    raise ValueError(f"{reader.name}: it has changed since it was looked through; start again")
                writer.add_key_value_metadata({COUNTS: json.dumps([outcome.written, outcome.broken])})
                if outcome.broken:  # first, so that a block that is there has its list
                    with job.output.writing(f"{BROKEN}/{block.name}.csv") as listed:
                        listed.write(csv_text(lines).encode(errors="backslashreplace"))
        finally:
            reader.close()
        outcome.seconds = time.perf_counter() - start
        return outcome

    def _table(self, file: str, rows: Sequence[Row]) -> pa.Table:
        engine = self.opened.engine
        answers = engine([list(column) for column in zip(*(row.texts for row in rows), strict=True)]) if rows else []
        return block_table(self.schema, len(self.job.kept), file, rows, engine.task, answers)

    def _note(self, reader: Reader, broken: Sequence[Row], outcome: Outcome) -> None:
        """Take down broken rows, or refuse them."""
        if broken and self.job.config.on_error == "stop":
            raise BrokenRowError(
                f"{reader.name}, {broken[0].where}: {broken[0].broken}; on_error=skip leaves such rows out"
            )
        room = BROKEN_SHOWN - len(outcome.broken_shown)
        outcome.broken_shown += tuple(f"{reader.name}, {row.where}: {row.broken}" for row in broken[:room])


def written_block(output: Storage, name: str, run: str) -> Outcome | None:
    """What became of a block that an earlier process wrote; None: none did.

    Raises
    ------
    ValueError
        if it is damaged, or of another run.
    """
    if not output.exists(name + SUFFIX):
        return None
    path = output.path(name + SUFFIX)
    try:
        with output.open(name + SUFFIX) as file:
            facts: dict[bytes, bytes] = parquet.ParquetFile(file).metadata.metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise DamagedBlockError(
            f"{path}: this Parquet file is damaged: {str(error).splitlines()[0]}; remove it"
        ) from error
    if facts.get(RUN) != run.encode() or COUNTS not in facts:
        raise ValueError(f"{path}: it is a block of another run: name another output, or overwrite=true")
    written, broken = json.loads(facts[COUNTS])
    return Outcome(name, written, broken)
