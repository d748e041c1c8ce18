"""Where a command talks: rich on a terminal, plain log lines elsewhere."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger("latadj")
console = Console(emoji=False)  # of models and users nothing is replaced
SECONDS_BETWEEN_LINES = 20.0


class Steps:
    """Counts the steps of something long; made by :func:`progress`. ``done`` are those that were taken."""

    def __init__(self, name: str, total: float | None, unit: str, bar: Progress | None) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done, self._reached = 0, 0.0
        self._bar = bar
        self._task = bar.add_task(name, total=total, counted="", rate="", note="") if bar else None
        self._first, self._warm = 0, False
        self._start = self._last_line = time.monotonic()

    def start_at(self, done: int, reached: float | None = None) -> None:
        """Count from what an earlier run did, which says nothing about this run's rate.

        Parameters
        ----------
        reached : how much of the total that was; None: as much as there were steps
        """
        self.done = self._first = done
        self._reached = done if reached is None else reached

    def advance(self, steps: int = 1, note: str = "", each: float = 1.0) -> None:
        """Take ``steps`` steps.

        Parameters
        ----------
        note : is shown behind them
        each : how much of the total one of them is
        """
        self.done += steps
        self._reached += steps * each
        now = time.monotonic()
        rate = (self.done - self._first) / max(now - self._start, 1e-9)
        if self._bar is not None and self._task is not None:
            count, speed = self._count(), self._speed(rate)
            self._bar.update(self._task, completed=self._reached, counted=count, rate=speed, note=note)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES or (not self.unit and self._reached >= (self.total or 0)):
            self._last_line = now
            parts = (f"{self.name}: {self._count()}", self._speed(rate), self._rest(rate), note)
            log.info("%s", ", ".join(part for part in parts if part))
        # The first step sets up what all others use: counted in, it would have five minutes promise an hour.
        if not self._warm and rate and not self.unit:
            self._first, self._start, self._warm = self.done, now, True

    def _count(self) -> str:
        return f"{self.done:,} {self.unit}" if self.unit else f"{self.done} of {self.total}"

    def _rest(self, rate: float) -> str:
        """How much is done, or how long the rest takes, where the total is known."""
        if self.total is None or (not self.unit and not rate):
            return ""
        return f"{self._reached / self.total:.0%}" if self.unit else f"{(self.total - self._reached) / rate:.0f} s left"

    def _speed(self, rate: float) -> str:
        if self.unit:
            return f"{rate:,.0f} {self.unit}/s"
        if not rate:
            return ""
        return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"


@contextmanager
def on_stderr() -> Iterator[None]:
    """Talk on standard error inside a ``with`` block, where standard output is taken."""
    before, console.stderr = console.stderr, True
    try:
        yield
    finally:
        console.stderr = before


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if (line := record.getMessage()) not in self.lines:
            self.lines.append(line)


@contextmanager
def kept_warnings() -> Iterator[list[str]]:
    """What latadj warns of inside a ``with`` block, each line once, for a process whose log nobody reads."""
    keeper = _Keeper()
    log.addHandler(keeper)
    try:
        yield keeper.lines
    finally:
        log.removeHandler(keeper)


@contextmanager
def progress(name: str, total: float | None, unit: str = "") -> Iterator[Steps]:
    """Show the progress of something long.

    Parameters
    ----------
    total : steps; with a unit, of whatever :meth:`Steps.advance` says that one is worth; None: nobody knows
    unit : what is counted, such as ``texts``, where that is not the total's steps
    """
    if not console.is_terminal:
        yield Steps(name, total, unit, None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[counted]}"),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        yield Steps(name, total, unit, bar)
