"""--multirun through the real command line: jobs one after the other, and side by side in processes of their own."""

import json
from shutil import rmtree

import pytest
from helpers import run_folders as folders
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.made_once import made_once
from helpers.trained_project import write_trained

from latadj.commands import multirun
from latadj.devices.affinity import affinity, pin


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made_once(tmp_path_factory, "trained", write_trained)


def given(root, tmp_path):
    common = [item for item in toy.overrides(root) if not item.startswith("folder=")]
    return [*common, f"checkpoint={root}/out/checkpoint", "measure.examples=2", f"hydra.sweep.dir={tmp_path}/many"]


def test_one_job_fails_and_the_others_go_on_and_are_not_done_again(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = given(root, tmp_path)
    found = run("eval", "-m", *common, "seed=4294967296,0", expect=2)
    assert "1 of 2 jobs failed: seed=4294967296: seed=4294967296: expected a number from 0" in found.stderr
    result = tmp_path / "outputs" / "minilm-sst2" / "seed=0" / "eval" / "eval.json"
    written = result.stat().st_mtime_ns
    found = run("eval", "-m", *common, "seed=0,1")
    assert [line.split()[:4] for line in found.stdout.splitlines() if "seed=" in line and "INFO" not in line][-2:] == [
        ["0", "seed=0", "done", "before"],
        ["1", "seed=1", "done", found.stdout.splitlines()[-2].split()[3]],
    ]
    assert result.stat().st_mtime_ns == written
    assert (result.parent / "eval.log").is_file()
    # Another dial, another result.
    metadata = root / "out" / "checkpoint" / "latadj.json"
    metadata.write_text(metadata.read_text() + "\n")
    assert "before" not in run("eval", "-m", *common, "seed=0,1").stdout
    assert result.stat().st_mtime_ns > written


def test_jobs_side_by_side_have_their_own_cpus_and_output(tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    if len(affinity() or []) < 2:
        pytest.skip("two jobs at once need two CPUs")
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        folders.write(tmp_path / name, sweep=folders.sweep())
    options = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}/many"]
    found = run("report", "-m", *options, f"folder={tmp_path}/a,{tmp_path}/b,{tmp_path}/none", expect=2)
    assert "1 of 3 jobs failed: folder=" in found.stderr
    assert "nothing to report" in found.stderr
    for name in ("a", "b"):
        assert (tmp_path / name / "report" / "report.html").is_file()
        assert (tmp_path / name / "report" / "output.txt").is_file()
        assert "wrote" in (tmp_path / name / "report" / "report.log").read_text()


def test_more_jobs_at_once_than_cpus_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.chdir(tmp_path)
    options = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "device.cpus=[0]"]
    message = run("report", "-m", *options, "seed=0,1", expect=2).stderr
    assert message.startswith("latadj report: 2 jobs at once of 1 CPUs each: there are 1 CPUs here")
    assert list(tmp_path.iterdir()) == []


def test_a_job_stays_on_the_cpus_that_were_given(root, tmp_path, monkeypatch):
    before = affinity()
    if before is None:
        pytest.skip("affinity is Linux's")
    monkeypatch.chdir(tmp_path)
    try:
        run("eval", "-m", *given(root, tmp_path), f"device.cpus=[{before[-1]}]", "seed=0")
    finally:
        pin(before)
    result = json.loads((tmp_path / "outputs" / "minilm-sst2" / "eval" / "eval.json").read_text())
    assert result["environment"]["affinity"] == before[-1:]


def test_a_model_that_was_removed_is_made_again(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = [
        "device=cpu",
        "dial.target=flops",
        f"checkpoint={root}/out/checkpoint",
        f"hydra.sweep.dir={tmp_path}/many",
    ]
    options = ["extract", "-m", *common, "speedup=1.5"]
    run(*options)
    (made,) = tmp_path.glob("outputs/*/extracted-1.5x")
    assert "done before" in run(*options).stdout
    rmtree(made)
    assert "done before" not in run(*options).stdout
    assert (made / "latadj.json").is_file()


def test_jobs_are_done_before_where_no_cpus_can_be_pinned_too(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multirun, "affinity", lambda: None)
    monkeypatch.setattr(multirun, "at_once", lambda *_: (1, None))
    options = ["eval", "-m", *(item for item in given(root, tmp_path) if "threads" not in item), "seed=0"]
    run(*options)
    assert "done before" in run(*options).stdout


@pytest.mark.parametrize("cpus", ["0", "{a:1}"])
def test_cpus_that_are_no_list_are_refused_in_one_line(tmp_path, monkeypatch, cpus):
    monkeypatch.chdir(tmp_path)
    message = run("sweep", "-m", f"device.cpus={cpus}", "seed=0,1", expect=2).stderr
    assert message.startswith("latadj sweep: device.cpus=") and message.count("\n") == 1
    assert "expected a list of numbers" in message
    assert list(tmp_path.iterdir()) == []
