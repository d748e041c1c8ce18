"""finetune -> calibrate -> sweep -> eval, once, through the real command line."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from helpers.made_once import made_once
from helpers.trained_project import write_trained
from transformers import AutoModelForSequenceClassification, pipeline
from typer.testing import CliRunner

import latadj
from latadj.cli import app
from latadj.reporting.results.sweep import BASELINES, OWN


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = made_once(tmp_path_factory, "trained", write_trained)
    common = toy.overrides(root)
    steps = [
        ["calibrate", "search.trials=6", "search.speedups=[1.5,2,4]", "calibration.examples=64", "clock.rounds=0"],
        ["sweep", "speedup=[1,2,4]", "measure.batches=2", "measure.repeats=3", "measure.warmup=1"],
        ["eval", "speedup=2", "measure.examples=20"],
    ]
    for command, *options in steps:
        result = run(command, *common, *options)
        assert result.exit_code == 0, result.output
    return root


@pytest.fixture(scope="module")
def sweep(root):
    return json.loads((root / "out" / "sweep" / "sweep.json").read_text())


def test_all_runs_share_one_folder(root):
    out = root / "out"
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        "plain",
        "checkpoint",
        "finetune",
        "calibrate",
        "sweep",
        "eval",
    }
    for command in ("finetune", "calibrate", "sweep", "eval"):
        assert (out / command / ".hydra" / "config.yaml").is_file()
        assert (out / command / f"{command}.log").is_file()
        assert (out / command / f"{command}.json").is_file()
    assert "not saved" not in (out / "finetune" / "finetune.log").read_text()
    assert not list((out / "finetune").rglob("optimizer.pt"))


def test_the_model_learns_its_task(sweep):
    assert sweep["baseline_metric"] > 0.8


def test_sweep_json_holds_what_it_promises(sweep):
    assert sweep["schema"] == "latadj.sweep/2"
    assert (sweep["task"], sweep["metric"], sweep["greater_is_better"]) == ("sst2", "accuracy", True)
    assert sweep["plain_metric"] is not None
    assert [row["speedup"] for row in sweep["rows"]] == [1.0, 2.0, 4.0]
    better = max(sweep["plain_metric"], sweep["baseline_metric"])
    for row in sweep["rows"]:
        assert row["metric_ci"][0] <= row["metric"] <= row["metric_ci"][1]
        assert row["drop"] == pytest.approx(better - row["metric"])
        assert row["profile_type"] == "searched"
        assert len(row["keep"]) == 4
        assert all(before >= after > 0 for before, after in zip([1.0, *row["keep"]], row["keep"], strict=False))
        assert set(row["measured"]) == {*BASELINES, OWN}
        for found in row["measured"].values():
            assert found["ci"][0] <= found["speedup"] <= found["ci"][1]
        assert row["latency_ms"]["p50"] <= row["latency_ms"]["p95"]
    assert sweep["rows"][0]["agreement"] == 1.0
    # The metadata of a package may lack the build, as in 2.8.0+cu128.
    assert torch.__version__.startswith(sweep["environment"]["packages"]["torch"])
    assert set(sweep["environment"]["quiet"]) == {"beside", "busy_elsewhere", "steal", "spread", "noisy", "warning"}
    assert sweep["config"]["task"]["name"] == "sst2"


def test_flops_speedups_are_those_asked_for(sweep):
    assert sweep["rows"][0]["flops_speedup"] > 1.1  # trimming is free
    for row in sweep["rows"][1:]:
        assert row["flops_speedup"] == pytest.approx(row["speedup"], rel=0.1)


def test_tables_and_picture_come_from_the_same_rows(root, sweep):
    folder = root / "out" / "sweep"
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["metric"]) for row in rows] == [row["metric"] for row in sweep["rows"]]
    assert f"{100 * sweep['rows'][1]['metric']:.2f}" in (folder / "sweep.md").read_text()
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_calibrate_measures_every_layer_and_makes_all_families(root):
    found = json.loads((root / "out" / "calibrate" / "calibrate.json").read_text())
    assert len(found["layer_acc"]) == 4
    assert all(0 < value <= 1 for value in found["layer_acc"])
    assert found["dial"]["anchors"]
    assert (root / "out" / "calibrate" / "acc.png").is_file()


@pytest.mark.parametrize("profile_type", ["geometric", "acc"])
def test_another_family_can_be_swept_without_calibrating_again(root, profile_type, tmp_path):
    common = [*toy.overrides(root), f"folder={tmp_path}", f"checkpoint={root / 'out' / 'checkpoint'}"]
    assert run("sweep", *common, "speedup=2", f"profile={profile_type}", "measure.batches=0").exit_code == 0
    (row,) = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["rows"]
    assert (row["profile_type"], row["measured"]) == (profile_type, {})


def test_eval_gives_metric_latency_and_predictions(root, sweep):
    found = json.loads((root / "out" / "eval" / "eval.json").read_text())
    assert found["scores"]["dev"]["accuracy"] == sweep["rows"][1]["metric"]
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p95"] <= found["latency_ms"]["p99"]
    assert found["throughput_per_s"] > 0
    assert 0 <= found["environment"]["quiet"]["busy_elsewhere"] <= 1
    with (root / "out" / "eval" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    fifths = [group for group in found["by_length"] if group["name"].endswith("fifth")]
    assert sum(group["examples"] for group in fifths) == len(rows)
    assert fifths == [group for group in sweep["rows"][1]["by_length"] if group["name"].endswith("fifth")]
    right = np.mean([row["prediction"] == row["label"] for row in rows])
    assert right == pytest.approx(found["scores"]["dev"]["accuracy"])


def test_sweep_keeps_what_was_said_of_every_test_example(root, sweep):
    with (root / "out" / "sweep" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sweep["test_examples"]
    for row in sweep["rows"]:
        name = f"{row['speedup']:g}x"
        right = np.mean([found[f"prediction_{name}"] == found["label"] for found in rows])
        assert right == pytest.approx(row["metric"])
        assert all(0.5 <= float(found[f"probability_{name}"]) <= 1 for found in rows)
    lengths, texts = sweep["batch_lengths"], sweep["batch_texts"]
    assert lengths["bucketed"] == sorted(lengths["bucketed"])
    assert [len(part) for part in (lengths["bucketed"], texts["bucketed"])] == [2, 2]
    assert sum(texts["max_padded"]) == sum(texts["bucketed"])


def test_report_makes_one_page_of_the_run(root, sweep):
    result = run("report", *toy.overrides(root))
    assert result.exit_code == 0, result.output
    html = (root / "out" / "report" / "report.html").read_text(encoding="utf-8")
    assert "latadj report: minilm on sst2" in html
    for row in sweep["rows"]:
        assert f"{100 * row['metric']:.2f}" in html
        assert f"{row['measured'][OWN]['speedup']:.2f}x" in html
    assert "Changed predictions" in html
    assert "is not there" not in html
    shutil.rmtree(root / "out" / "report")


def test_bf16_weights_give_nearly_the_same_metric(root, tmp_path):
    common = [*toy.overrides(root), f"folder={tmp_path}", f"checkpoint={root / 'out' / 'checkpoint'}"]
    result = run("sweep", *common, "device.precision=bf16", "speedup=[1,2]", "measure.batches=0")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    exact = json.loads((root / "out" / "sweep" / "sweep.json").read_text())
    assert found["environment"]["precision"] == "bf16"
    for ours, theirs in zip(found["rows"], exact["rows"], strict=False):
        assert ours["metric"] == pytest.approx(theirs["metric"], abs=0.05)


def test_a_loaded_model_is_an_ordinary_one_at_any_speed(root):
    model, tokenizer = latadj.load(root / "out" / "checkpoint", speedup=2.0)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    texts = ["the film is good", "the very long story is awful and bad", "", "film", "电影很好", "fine " * 200]
    answers = {}
    for speedup in (1.0, 2.0, 4.0):
        with latadj.at_speedup(model, speedup):
            answers[speedup] = classify(texts, truncation=True, batch_size=3)
        assert {answer["label"] for answer in answers[speedup]} <= {"negative", "positive"}
    assert answers[1.0] != answers[4.0]


def test_the_checkpoint_loads_in_plain_transformers_as_the_full_model(root):
    folder = root / "out" / "checkpoint"
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ours, tokenizer = latadj.load(folder)
    batch = tokenizer(["the film is good", "a bad story about people"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(ours(**batch).logits, plain(**batch).logits, atol=1e-5)


def test_the_readme_snippet_runs(root, tmp_path, monkeypatch, capsys):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    shutil.copytree(root / "out" / "checkpoint", tmp_path / "outputs" / "reviews" / "checkpoint")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    assert re.search(r"tensor\(\[\[ ?-?\d", capsys.readouterr().out)


def test_any_fine_tuned_folder_can_be_calibrated(root, tmp_path):
    foreign = toy.write_model(tmp_path / "foreign", layers=3)
    common = [*toy.overrides(root), f"folder={tmp_path / 'out'}", f"checkpoint={foreign}"]
    options = ["search.trials=0", "calibration.examples=16", "clock.rounds=0"]
    assert run("calibrate", *common, *options).exit_code == 0
    assert run("sweep", *common, "speedup=2", "measure.batches=0").exit_code == 0
    found = json.loads((tmp_path / "out" / "sweep" / "sweep.json").read_text())
    assert found["plain_metric"] is None
    assert found["rows"][0]["profile_type"] == "acc"


def test_texts_longer_than_the_model_are_cut_whatever_the_tokenizer_says(root, tmp_path):
    checkpoint = shutil.copytree(root / "out" / "checkpoint", tmp_path / "checkpoint")
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    settings.pop("model_max_length")
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
    data = shutil.copytree(root / "data", tmp_path / "data")
    with (data / "dev.tsv").open("a") as file:
        file.write(f"{'fine ' * 3000}\t1\n\t0\n电影很好\t1\n")
    options = [f"folder={tmp_path}/out", f"checkpoint={checkpoint}", f"task.data_dir={data}", "task.max_length=4096"]
    result = run("sweep", *toy.overrides(root), *options, "speedup=3", "measure.batches=0")
    assert result.exit_code == 0, result.output


def test_plain_fine_tuning_alone_makes_a_checkpoint_without_a_dial(root, tmp_path):
    common = [*toy.overrides(root), f"folder={tmp_path}"]
    assert run("finetune", *common, "adjustable=false", "plain.max_steps=1").exit_code == 0
    result = run("sweep", *common)
    assert result.exit_code == 2
    assert "has no dial: make one with `latadj calibrate`" in result.output


def test_multirun_makes_a_folder_for_each_combination(root, tmp_path):
    checkpoint = shutil.copytree(root / "out" / "checkpoint", tmp_path / "checkpoint")
    common = [
        *toy.overrides(root),
        f"checkpoint={checkpoint}",
        "measure.examples=2",
        f"hydra.sweep.dir={tmp_path}/many",
    ]
    common = [item for item in common if not item.startswith("folder=")]
    result = run("eval", "--multirun", *common, f"folder={tmp_path}/s${{seed}}", "seed=0,1")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "s0" / "eval" / "eval.json").is_file()
    assert (tmp_path / "s1" / "eval" / "eval.json").is_file()
