"""`make test-oldest` installs what pyproject.toml promises to run with."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings it
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNNERS = ("pytest", "pytest-xdist")  # of the dev extra, what runs the tests


def promised() -> dict[str, Requirement]:
    asked = [Requirement(line) for line in PROJECT["dependencies"]]
    tools = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]
    return {found.name: found for found in [*asked, *(tool for tool in tools if tool.name in RUNNERS)]}


def pinned() -> tuple[dict[str, str], dict[str, str]]:
    """The two sections of the file, each by name."""
    sections: list[dict[str, str]] = []
    for line in (ROOT / "constraints-oldest.txt").read_text().splitlines():
        if line.startswith("#"):
            sections.append({})
        else:
            name, version = line.split("==")
            sections[-1][name] = version
    lowest, brought = sections
    return lowest, brought


@pytest.mark.parametrize("requirement", promised().values(), ids=str)
def test_lower_bound_is_what_is_tested(requirement: Requirement):
    (bound,) = requirement.specifier
    assert bound.operator == ">="
    # 2.8 and 2.8.0 are one version.
    assert Version(pinned()[0][requirement.name]) == Version(bound.version)


def test_nothing_but_the_lower_bounds_is_called_one():
    lowest, brought = pinned()
    assert set(lowest) == set(promised())
    assert not set(brought) & set(promised())


def test_oldest_python_is_the_one_that_runs_it():
    (bound,) = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert bound.operator == ">="
    makefile = (ROOT / "Makefile").read_text()
    assert f"OLDEST_VERSION := {bound.version}\n" in makefile
