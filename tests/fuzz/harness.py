"""One harness for all edges: a case is answered by one clean line or handled, and leaves and loses no file."""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hydra.errors import HydraException
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import SearchStrategy
from omegaconf.errors import OmegaConfBaseException

from latadj.config.errors import one_line
from latadj.utils.readable import message

# What `latadj` answers with one line and exit code 2; anything else is a traceback.
REFUSALS = (HydraException, OmegaConfBaseException, ValueError, OSError)
# Room for a value of the command line that is said again, and none for a file's megabytes.
LONGEST_LINE = 2_100
LONGEST_SECONDS = 30.0
# Times as many cases as an edge names, and another choice of them: a third in `make test`, which has to be quick.
FACTOR, SEED = float(os.environ.get("FUZZ_FACTOR", "0.33")), os.environ.get("FUZZ_SEED")
FEWEST = 5
# Code in a model's folder would make this file.
EVIDENCE = "code-has-run"


@dataclass(frozen=True)
class Edge:
    """Somewhere that latadj reads what others may have written.

    prepare : fills a folder that all cases share, and returns what ``use`` needs beside it
    cases : strategy of what is odd
    use : puts a case into the folder and has latadj read it
    examples : cases, times ``FACTOR``
    writes : whether ``use`` is to change the folder
    """

    name: str
    prepare: Callable[[Path], Any]
    cases: SearchStrategy[Any]
    use: Callable[[Path, Any, Any], object]
    examples: int
    writes: bool = False


class Counter:
    """How many cases this process has run."""

    cases = 0


def run(edge: Edge, folder: Path) -> None:
    """Run all cases of an edge."""
    material = edge.prepare(folder)
    before = snapshot(folder)

    def check(case: Any) -> None:
        Counter.cases += 1
        start = time.monotonic()
        refused(lambda: edge.use(folder, material, case))
        took = time.monotonic() - start
        if took > LONGEST_SECONDS:
            pytest.fail(f"{took:.0f} s of silence")
        if not edge.writes and snapshot(folder) != before:
            pytest.fail("a file was left behind, changed or lost")
        if Path(EVIDENCE).exists():
            pytest.fail("code of the folder was run")

    cases = hypothesis.given(edge.cases)(check)
    settings = hypothesis.settings(
        max_examples=max(round(edge.examples * FACTOR), FEWEST),
        deadline=None,
        database=None,
        derandomize=SEED is None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    settings(cases if SEED is None else hypothesis.seed(int(SEED))(cases))()


def refused(use: Callable[[], object]) -> str | None:
    """The line that refuses a case; None where it is handled."""
    try:
        use()
    except REFUSALS as error:
        line = message(one_line(error))
        if not line.strip() or "\n" in line or len(line) > LONGEST_LINE:
            pytest.fail(f"no clean line, {len(line)} characters: {line[:300]!r}")
        return line
    return None


def snapshot(folder: Path) -> dict[str, str]:
    """Every file of a folder, with a sum of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def replaced(path: Path, content: bytes | None, use: Callable[[], object]) -> object:
    """What ``use`` returns while a file holds something else, or is gone."""
    before = path.read_bytes() if path.is_file() else None
    try:
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(content)
        return use()
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)
