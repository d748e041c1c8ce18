"""Says at the end how many cases there were, over all processes."""

from typing import Any

import pytest
from fuzz.harness import FACTOR, SEED, Counter

_elsewhere: list[int] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["fuzz_cases"] = Counter.cases


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    _elsewhere.append(getattr(node, "workeroutput", {}).get("fuzz_cases", 0))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    count = Counter.cases + sum(_elsewhere)
    if count:
        seed = "always the same" if SEED is None else f"seed {SEED}"
        terminalreporter.write_line(f"fuzz: {count:,} cases ({seed}, {FACTOR:g} times what the edges name)")
