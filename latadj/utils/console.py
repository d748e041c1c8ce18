"""Where a command talks: rich on a terminal, plain log lines elsewhere."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger("latadj")
console = Console()
SECONDS_BETWEEN_LINES = 20.0


class Steps:
    """Counts the steps of something long; made by :func:`progress`.

    The rate leaves out what the first step took, once there are more: it sets up what all others use, and counted in it
    would have a training of five minutes promise an hour.
    """

    def __init__(self, name: str, total: int, bar: Progress | None) -> None:
        self.name, self.total, self.done = name, total, 0
        self._bar = bar
        self._task = bar.add_task(name, total=total, note="", rate="") if bar else None
        self._first, self._warm = 0, False
        self._start = self._last_line = time.monotonic()

    def start_at(self, done: int) -> None:
        """Count from ``done`` steps that an earlier run took; they say nothing about this run's rate."""
        self.done = self._first = done

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Take ``steps`` steps; ``note`` is shown behind them."""
        self.done += steps
        now = time.monotonic()
        rate = (self.done - self._first) / max(now - self._start, 1e-9)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, note=note, rate=_shown(rate))
        elif now - self._last_line >= SECONDS_BETWEEN_LINES or self.done >= self.total:
            self._last_line = now
            left = f"{(self.total - self.done) / rate:.0f} s left" if rate else ""
            said = (f"{self.name}: {self.done} of {self.total}", _shown(rate), left, note)
            log.info("%s", ", ".join(part for part in said if part))
        if not self._warm and rate:
            self._first, self._start, self._warm = self.done, now, True


@contextmanager
def on_stderr() -> Iterator[None]:
    """Talk on standard error inside a ``with`` block, where standard output is taken."""
    before, console.stderr = console.stderr, True
    try:
        yield
    finally:
        console.stderr = before


@contextmanager
def progress(name: str, total: int) -> Iterator[Steps]:
    """Show the progress of ``total`` steps."""
    if not console.is_terminal:
        yield Steps(name, total, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Steps(name, total, bar)


def _shown(rate: float) -> str:
    if not rate:
        return ""
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
