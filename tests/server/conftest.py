"""One tiny model and one server for all tests of the API."""

import pytest

pytest.importorskip("fastapi")

from collections.abc import Iterator
from pathlib import Path

from helpers.served_model import Client, OnRay, Running, write_served

LIMITS = ("limits.text_characters=5000", "limits.request_texts=40")


@pytest.fixture(scope="session")
def served_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    write_served(root)
    return root


@pytest.fixture(scope="session")
def server(served_root: Path) -> Iterator[Running]:
    with Running(served_root / "checkpoint", *LIMITS) as running:
        yield running


# One process has one cluster at a time.
@pytest.fixture(scope="module")
def on_ray(served_root: Path) -> Iterator[OnRay]:
    pytest.importorskip("ray")
    with OnRay(served_root / "checkpoint", *LIMITS) as running:
        yield running


@pytest.fixture(params=["local", "ray"])
def api(request: pytest.FixtureRequest) -> Client:
    """Each engine's server."""
    return request.getfixturevalue("server" if request.param == "local" else "on_ray")
