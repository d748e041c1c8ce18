"""One tiny model and one server for all tests of the API."""

import pytest

pytest.importorskip("fastapi")

from collections.abc import Iterator
from pathlib import Path

from helpers.served_model import Running, write_served


@pytest.fixture(scope="session")
def served_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    write_served(root)
    return root


@pytest.fixture(scope="session")
def server(served_root: Path) -> Iterator[Running]:
    with Running(served_root / "checkpoint", "limits.text_characters=5000", "limits.request_texts=40") as running:
        yield running
