"""Shows how texts flow through something that may not know how many are to come."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from latadj.utils.console import SECONDS_BETWEEN_LINES, console

log = logging.getLogger("latadj")


class Flow:
    """Counts texts; made by :func:`flow`."""

    def __init__(self, name: str, total: int | None, done: int, texts: int, bar: Progress | None) -> None:
        self.name, self.total, self.texts = name, total, texts
        self._bar = bar
        shown = {"texts": f"{texts:,} texts", "rate": ""}
        self._task = bar.add_task(name, total=total, completed=done, **shown) if bar else None  # type: ignore[arg-type]
        self.done = float(done)
        self._before = texts
        self._start = self._last_line = time.monotonic()

    def advance(self, texts: int, each: float) -> None:
        """Count ``texts`` more, which stand for so much ``each`` of the total."""
        self.texts += texts
        self.done += texts * each
        now = time.monotonic()
        rate = f"{(self.texts - self._before) / max(now - self._start, 1e-9):,.0f} texts/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, texts=f"{self.texts:,} texts", rate=rate)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            share = f", {self.done / self.total:.0%}" if self.total else ""
            log.info("%s: %s texts, %s%s", self.name, f"{self.texts:,}", rate, share)


@contextmanager
def flow(name: str, total: int | None, done: int = 0, texts: int = 0) -> Iterator[Flow]:
    """Show the flow of texts.

    Parameters
    ----------
    total : of what is read (bytes, or rows); None: nobody knows
    done, texts : what an earlier run did
    """
    if not console.is_terminal:
        yield Flow(name, total, done, texts, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[texts]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield Flow(name, total, done, texts, bar)
