"""Whatever stands on the command line or in a file: one clean line, or it is handled."""

from typing import Any

import pytest
from fuzz.edges import command_line, data_files, metadata, model_folders, races, results, run_state
from fuzz.harness import Edge, run

MODULES = (command_line, data_files, metadata, model_folders, races, results, run_state)
EDGES = [edge for module in MODULES for edge in module.EDGES]


def marked(edge: Edge) -> Any:
    pending = [pytest.mark.xfail(reason=edge.pending, raises=Exception, strict=False)] if edge.pending else []
    return pytest.param(edge, id=edge.name, marks=pending)


@pytest.mark.parametrize("edge", [marked(edge) for edge in EDGES])
def test_every_case_is_answered_by_one_line_or_handled(edge: Edge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "edge"
    folder.mkdir()
    run(edge, folder)
