"""Whatever stands on the command line or in a file: one clean line, or it is handled."""

import pytest
from fuzz.edges import command_line, data_files, metadata, model_folders, races, results, run_state
from fuzz.harness import Edge, run

MODULES = (command_line, data_files, metadata, model_folders, races, results, run_state)
EDGES = [edge for module in MODULES for edge in module.EDGES]


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.name)
def test_every_case_is_answered_by_one_line_or_handled(edge: Edge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "edge"
    folder.mkdir()
    run(edge, folder)
