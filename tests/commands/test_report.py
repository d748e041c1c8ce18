"""latadj report, through the real command line, on folders made by hand."""

import subprocess
import sys

import pytest
from helpers import run_folders as folders
from typer.testing import CliRunner

from latadj.cli import app
from latadj.config.compose import compose, typed


def report(*arguments, expect=0):
    found = CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)
    assert found.exit_code == expect, found.output
    return found


def test_a_folder_becomes_a_page(tmp_path):
    folder = folders.write(tmp_path / "run", sweep=folders.sweep(), predictions=folders.predictions())
    report(f"folder={folder}")
    html = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "minilm on films" in html
    assert (folder / "report" / ".hydra" / "config.yaml").is_file()


def test_a_language_models_folder_too(tmp_path):
    folder = folders.write(tmp_path / "run", sweep=folders.generation())
    report(f"folder={folder}")
    assert "smollm2 on speeches" in (folder / "report" / "report.html").read_text(encoding="utf-8")


def test_model_and_task_name_the_folder_and_need_neither_hub_nor_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = folders.write(tmp_path / "outputs" / "bert-sst2", eval=folders.evaluation())
    report("model=bert", "task=sst2")
    assert (folder / "report" / "report.html").is_file()


def test_a_second_report_replaces_the_first(tmp_path):
    folder = folders.write(tmp_path / "run", eval=folders.evaluation())
    report(f"folder={folder}")
    folders.write(folder, sweep=folders.sweep())
    report(f"folder={folder}")
    assert "Asked for 2x" in (folder / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [("empty", "nothing to report, there is no sweep/sweep.json"), ("nowhere", "no such folder; name a run's")],
)
def test_nothing_to_report_is_one_line_and_leaves_nothing(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    found = report(f"folder={tmp_path / name}", expect=2)
    assert found.stderr.startswith(f"latadj report: folder {tmp_path / name}: ")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_folder_that_cannot_be_written(tmp_path):
    folder = folders.write(tmp_path / "run", eval=folders.evaluation())
    (folder / "report").write_text("a file")
    assert report(f"folder={folder}", expect=2).stderr.startswith("latadj report: ")


def test_its_config_composes_without_any_package_of_weights():
    config = typed("report", compose("report", ["model=flan_t5", "task=newsgroups"]))
    assert (config.model.path, config.task.files, config.folder) == ("", None, "outputs/flan_t5-newsgroups")


def test_neither_torch_nor_transformers_is_imported():
    code = (
        "import sys, latadj.commands.report, latadj.commands.launch;"
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
