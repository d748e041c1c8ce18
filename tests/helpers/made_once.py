"""Folders that take long to make and that several files of tests read."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A copy for the caller's own of a folder that ``make`` fills once for all processes of a run of tests."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has a folder of its own in it
    whole, making = base / f"once-{name}", base / f"once-{name}-unfinished"
    with FileLock(f"{whole}.lock"):
        if not whole.exists():
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            make(making)
            making.rename(whole)
    return shutil.copytree(whole, factory.mktemp(name), dirs_exist_ok=True)
