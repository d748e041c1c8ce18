"""latadj collect, through the real command line, on folders made by hand."""

import csv
from dataclasses import replace
from shutil import rmtree

import pytest
from helpers import run_folders as folders
from helpers.command_line import run

from latadj.checkpoints.metadata import CheckpointMetadata, write_metadata
from latadj.reporting.results.collected import Collected, Mean
from latadj.utils.files import load_json


def seeded(folder, seed, metric, found=None, /, **config):
    """A sweep of one position of the dial with a seed and a metric."""
    found = found or folders.sweep()
    rows = [replace(found.rows[2], metric=metric)]
    found = replace(found, rows=rows, samples_s={}, config={**folders.CONFIG, "seed": seed, **config})
    return folders.write(folder, sweep=found)


def collected(folder):
    run("collect", str(folder))
    return Collected.from_json(load_json(folder / "collect" / "collect.json"))


def test_mean_and_interval_over_seeds(tmp_path):
    for seed, metric in enumerate((0.70, 0.72, 0.77)):
        seeded(tmp_path / f"seed={seed}", seed, metric)
    found = collected(tmp_path)
    (row,) = found.rows
    assert (row.seeds, row.speedup, row.setting) == ([0, 1, 2], 2.0, "")
    assert row.metric.value == pytest.approx(0.73)
    # Student's t with 2 degrees of freedom: 4.3027 standard errors of 0.0208167.
    assert row.metric.ci == pytest.approx((0.73 - 0.089568, 0.73 + 0.089568), abs=1e-5)
    assert row.over_full == Mean(4.08, (4.08, 4.08))
    assert found.noisy == 3
    (line,) = csv.DictReader((tmp_path / "collect" / "collect.csv").open())
    assert (line["task"], line["seeds"], line["metric"][:4]) == ("films", "3", "73.0")
    assert "| 2x | 3 | 73.00 | 64.0–82.0 |" in (tmp_path / "collect" / "collect.md").read_text()
    assert (tmp_path / "collect" / "collect.png").read_bytes().startswith(b"\x89PNG")


def test_settings_tasks_and_models_stand_apart(tmp_path):
    for seed in (0, 1):
        for target in ("flops", "latency"):
            seeded(tmp_path / f"{target}-{seed}", seed, 0.7, dial={"target": target}, checkpoint=f"run/seed={seed}/c")
    seeded(tmp_path / "other", 0, 0.5, replace(folders.sweep(), task="books"))
    folders.write(tmp_path / "language", sweep=folders.generation())
    found = collected(tmp_path)
    assert [(row.model, row.task, row.setting, row.seeds) for row in found.rows if row.speedup == 2.0] == [
        ("minilm", "films", "dial.target=flops", [0, 1]),
        ("minilm", "films", "dial.target=latency", [0, 1]),
        ("smollm2", "speeches", "", [0]),
        ("minilm", "books", "", [0]),
    ]
    assert len(found.groups()) == 3


def test_evaluations_are_joined_too(tmp_path):
    folders.write(tmp_path / "a", eval={**folders.evaluation(), "drop": 0.01, "flops_speedup": 2.2})
    (row,) = collected(tmp_path).rows
    assert (row.speedup, row.metric.ci, row.over_full) == (folders.evaluation()["speedup"], None, None)


def test_of_two_results_of_one_setting_and_seed_the_newer_counts(tmp_path):
    seeded(tmp_path / "a", 0, 0.6)
    newer = replace(folders.sweep(), environment={**folders.ENVIRONMENT, "time": "2027-01-01T00:00:00+00:00"})
    seeded(tmp_path / "b", 0, 0.9, newer)
    found = collected(tmp_path)
    assert found.rows[0].metric == Mean(0.9)
    assert found.left_out == {
        "a/sweep/sweep.json": "b/sweep/sweep.json is newer, of the same setting, seed and speedups"
    }


def evaluated(folder, speedup, /, **config):
    found = folders.evaluation() | {"speedup": speedup, "drop": 0.01, "flops_speedup": 2.2}
    found |= {"config": {**folders.CONFIG, **config}}
    return folders.write(folder, eval=found)


def test_speedups_that_were_evaluated_one_by_one_all_count(tmp_path):
    for speedup in (1.0, 2.0, 3.0):
        evaluated(tmp_path / f"speedup={speedup:g}", speedup, speedup=speedup)
    found = collected(tmp_path)
    assert ([row.speedup for row in found.rows], found.left_out) == ([1.0, 2.0, 3.0], {})


def test_a_newer_sweep_of_some_speedups_leaves_the_others_of_an_older_one(tmp_path):
    rows = folders.sweep().rows
    folders.write(tmp_path / "a", sweep=replace(folders.sweep(), rows=rows[:3]))
    newer = {**folders.ENVIRONMENT, "time": "2027-01-01T00:00:00+00:00"}
    folders.write(
        tmp_path / "b",
        sweep=replace(folders.sweep(), rows=[replace(rows[2], metric=0.1), rows[3]], environment=newer),
    )
    found = collected(tmp_path)
    assert [(row.speedup, row.metric.value == 0.1) for row in found.rows] == [
        (1.0, False),
        (1.5, False),
        (2.0, True),
        (3.0, False),
    ]
    assert (found.files, found.left_out) == (["a/sweep/sweep.json", "b/sweep/sweep.json"], {})


def test_options_of_the_task_and_exported_graphs_are_settings_and_places_of_files_are_not(tmp_path):
    for dimensions in (64, 128):
        task = {"name": "films", "dimensions": dimensions, "data_dir": f"data/{dimensions}", "hub": None}
        evaluated(tmp_path / str(dimensions), 2.0, task=task, folder=f"o/{dimensions}")
    evaluated(tmp_path / "c", 2.0, task={"name": "films", "dimensions": 64}, exported="graphs", folder="o/c")
    assert sorted(row.setting for row in collected(tmp_path).rows) == [
        "task.dimensions=128",
        "task.dimensions=64",
        "task.dimensions=64 exported=graphs",
    ]


@pytest.mark.parametrize("inside", [True, False], ids=["in its folder", "elsewhere"])
def test_seeds_are_found_whatever_their_folders_are_called(tmp_path, inside):
    for seed in (0, 1):
        folder = f"outputs/minilm-films-{seed}"
        place = folder if inside else f"other/10-{seed}"
        seeded(tmp_path / str(seed), seed, 0.7, folder=folder, checkpoint=f"{place}/checkpoint")
    (row,) = collected(tmp_path).rows
    assert (row.seeds, row.setting) == ([0, 1], "")


def test_models_of_several_seeds_in_one_run_are_told_apart_by_their_notes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        (checkpoint := tmp_path / "o" / f"seed={seed}" / "checkpoint").mkdir(parents=True)
        write_metadata(checkpoint, CheckpointMetadata("films", notes={"seed": seed}))
        seeded(tmp_path / "found" / str(seed), 0, 0.7, checkpoint=f"o/seed={seed}/checkpoint", folder=f"s/{seed}")
    (row,) = collected(tmp_path / "found").rows
    assert (row.seeds, row.setting) == ([0, 1], "")
    # Nobody knows the seeds of models that are gone.
    rmtree(tmp_path / "o")
    assert len(collected(tmp_path / "found").rows) == 2


def test_models_of_one_seed_in_folders_of_their_own_are_all_kept(tmp_path):
    for name in ("epochs=1", "epochs=2"):
        for seed in (0, 3):
            folder = f"o/{name}/{seed}"
            seeded(tmp_path / name / str(seed), seed, 0.7, folder=folder, checkpoint=f"{folder}/checkpoint")
    found = collected(tmp_path)
    assert [(row.setting, row.seeds) for row in found.rows] == [
        ("checkpoint=o/epochs=1/*/checkpoint", [0, 3]),
        ("checkpoint=o/epochs=2/*/checkpoint", [0, 3]),
    ]
    assert found.left_out == {}


def test_one_model_that_was_measured_with_several_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    write_metadata(tmp_path / "m", CheckpointMetadata("films", notes={"seed": 7}))
    for seed in (0, 1):
        seeded(tmp_path / "found" / str(seed), seed, 0.7, checkpoint="m", folder=f"s/{seed}")
    (row,) = collected(tmp_path / "found").rows
    assert row.seeds == [0, 1]


def test_a_damaged_result_is_left_out_and_named(tmp_path):
    seeded(tmp_path / "a", 0, 0.6)
    (tmp_path / "b" / "sweep").mkdir(parents=True)
    (tmp_path / "b" / "sweep" / "sweep.json").write_text('{"schema": 1}')
    assert list(collected(tmp_path).left_out) == ["b/sweep/sweep.json"]


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_nothing_to_join(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    message = run("collect", folder, expect=2).stderr
    assert message.startswith("latadj collect: ") and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
