"""Several models of one task side by side, through the real command line."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.made_once import made_once
from helpers.trained_project import LEARN, write_trained
from safetensors.torch import load_file

from latadj.commands.evaluation.compared_models import candidates_of
from latadj.reporting.plots import MARKERS
from latadj.reporting.results.comparison import REFERENCE, Comparison, markdown_of_task

PRUNE = ["prune.groups=2", "prune.examples=64", "prune.gradient_examples=64", "prune.recover_epochs=0"]
DIAL = ["search.trials=0", "calibration.examples=64", "clock.rounds=0", "calibration.profile=geometric"]
CLOCK = ["measure.batches=2", "measure.repeats=3", "measure.warmup=1"]
NAMES = ["plain", "pruned", "dial", "pruned+dial"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = made_once(tmp_path_factory, "trained", write_trained)
    common, out = toy.overrides(root), root / "out"
    run("calibrate", *common, *DIAL)
    # A dial that nobody trained for, and that keeps the first words whatever they say: it loses much at its end.
    shutil.copytree(out / "plain", out / "untrained")
    run(
        "calibrate",
        *common,
        *DIAL,
        f"checkpoint={out / 'untrained'}",
        "calibration.score=position",
        "calibration.profile=flat",
    )
    run("prune", *common, *PRUNE, "prune.tolerance=0.02", "task.split={train:0.7,validation:0.3}")
    again = [*common, f"model.path={out / 'pruned'}", f"folder={out / 'pruned-dial'}"]
    run("finetune", *again, *LEARN, "plain.epochs=0", "adjust.epochs=1", f"adjust.teacher={out / 'plain'}")
    run("calibrate", *again, *DIAL)
    return root


def header(folder):
    """Bytes before the weights in a safetensors file: their length in eight, and what they say."""
    with (folder / "model.safetensors").open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


@pytest.fixture(scope="module")
def compared(root):
    options = ["experiment=axformer", "compare.memory=false", "compare.precisions=[fp32,int8]", *CLOCK]
    run("sweep", *toy.overrides(root), *options)
    return json.loads((root / "out" / "compare" / "comparison.json").read_text())


def test_adjustable_fine_tuning_starts_from_a_fine_tuned_model_with_its_head(root):
    before, after = (
        load_file(root / "out" / folder / "model.safetensors") for folder in ("pruned", "pruned-dial/plain")
    )
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
    assert not before["classifier.weight"].equal(
        load_file(root / "out" / "pruned-dial" / "checkpoint" / "model.safetensors")["classifier.weight"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["task.labels=[positive,negative]"], "stand for ['negative', 'positive']"),
        (["adjustable=false"], "plain.epochs=0 with adjustable=false: nothing would be trained"),
    ],
)
def test_a_head_that_does_not_fit_is_not_kept(root, tmp_path, options, message):
    given = [*toy.overrides(root), f"model.path={root / 'out' / 'plain'}", f"folder={tmp_path / 'new'}"]
    found = run("finetune", *given, "plain.epochs=0", *options, expect=2)
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_every_model_stands_there_in_every_precision(root, compared):
    assert compared["schema"] == "latadj.comparison/1"
    found = [(row["name"], row["precision"]) for row in compared["models"]]
    assert found == [(name, precision) for name in NAMES for precision in ("fp32", "int8")]
    candidates = json.loads((root / "out" / "prune" / "prune.json").read_text())["candidates"]
    assert compared["candidates"] == candidates != []
    assert Comparison.from_json(compared).to_json() == {**compared, "memory_shape": None}
    for row in compared["models"]:
        assert row["metric_ci"][0] <= row["metric"] <= row["metric_ci"][1]
        assert row["drop_ci"][0] <= row["drop"] <= row["drop_ci"][1]
        assert row["ci"][0] <= row["measured_speedup"] <= row["ci"][1]
        assert row["drop"] == pytest.approx(compared["reference"]["metric"] - row["metric"])
        own = row["over_plain"]["speedup"]
        assert row["measured_over_flops"] == pytest.approx(own / row["flops_over_plain"])
        if row["flops_over_plain"] > 1:
            gone = 1 - 1 / row["flops_over_plain"]
            assert row["removed_over_flops"] * gone == pytest.approx(1 - 1 / own)
        else:
            assert row["removed_over_flops"] is None
        assert 0 < row["parameters"] < row["parameters_total"]
        assert row["file_bytes"] == 4 * row["parameters_total"] + header(Path(row["checkpoint"]))
    keys = {f"{name} {precision}" for name, precision in found}
    assert set(compared["samples_s"]) == {REFERENCE, *keys}
    assert compared["environment"]["quiet"].keys() >= {"noisy", "warning"}


def test_candidates_of_a_pruning_that_made_none_of_the_models_are_left_out(root, compared):
    result = root / "out" / "prune" / "prune.json"
    assert candidates_of(result, [root / "out" / "plain"]) == []
    assert candidates_of(result, [root / "out" / "plain", root / "out" / "pruned"]) == compared["candidates"]


def test_a_model_of_another_fine_tuning_is_warned_about(root, compared, tmp_path, caplog):
    warning = "of another fine-tuning than plain"
    assert warning not in (root / "out" / "sweep" / "sweep.log").read_text()
    out = shutil.copytree(root / "out", tmp_path / "out")
    metadata = json.loads((out / "pruned" / "latadj.json").read_text())
    metadata["notes"]["run"] = "another"
    (out / "pruned" / "latadj.json").write_text(json.dumps(metadata))
    options = ["experiment=axformer", "compare.memory=false", "compare.precisions=[fp32]", "measure.batches=0"]
    run("sweep", *toy.overrides(root), *options, f"folder={out}")
    assert f"pruned: {warning}" in caplog.text


def test_the_plain_model_is_what_all_count_from(compared):
    plain, low = compared["models"][:2]
    assert (plain["drop"], plain["drop_ci"]) == (0, [0, 0])
    for row in (plain, low):
        assert (row["flops_over_plain"], row["over_plain"]["speedup"]) == (1, 1)
    assert plain["flops_speedup"] > 1.05  # the last layer is trimmed, without loss
    assert compared["reference"]["metric"] > 0.8


def test_a_pruned_model_is_smaller_and_its_flops_count_from_the_plain_one(compared):
    plain, pruned, dial, both = (row for row in compared["models"] if row["precision"] == "fp32")
    assert pruned["parameters"] == both["parameters"] < plain["parameters"] == dial["parameters"]
    assert pruned["file_bytes"] < plain["file_bytes"]
    assert pruned["flops_over_plain"] > 1


def test_numbers_agree_with_a_sweep_of_the_same_checkpoint(root, compared, tmp_path):
    by_name = {(row["name"], row["precision"]): row for row in compared["models"]}
    for precision in ("fp32", "int8"):
        ours = by_name["dial", precision]
        options = [f"folder={tmp_path}", f"checkpoint={root / 'out' / 'checkpoint'}", f"speedup={ours['speedup']}"]
        run("sweep", *toy.overrides(root), *options, f"device.precision={precision}", "measure.batches=0")
        (theirs,) = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["rows"]
        for key in ("metric", "metric_ci", "scores", "flops_speedup", "profile"):
            assert ours[key] == theirs[key], key


def test_the_speedup_is_the_largest_that_validation_text_allows(root, tmp_path):
    common, out = toy.overrides(root), root / "out"
    # The test split becomes another one, so that whoever chose by it would choose otherwise.
    data = shutil.copytree(root / "data", tmp_path / "data")
    lines = (data / "dev.tsv").read_text().splitlines()
    flipped = [f"{line[:-1]}{1 - int(line[-1])}" for line in lines[1:]]
    (data / "dev.tsv").write_text("\n".join([lines[0], *flipped]) + "\n")

    def chosen(most, *options):
        models = [f"+compare.models.full={{checkpoint:{out / 'plain'}}}"]
        models.append(f"+compare.models.cut={{checkpoint:{out / 'untrained'},speedup:[1,4,2,5]}}")
        given = [*common, *models, f"folder={tmp_path / 'new'}", "compare.precisions=[fp32]", "measure.batches=0"]
        # Enough validation text for a drop to show.
        given.append("task.split={train:0.5,validation:0.5}")
        run("sweep", *given, f"compare.max_drop={most}", *options)
        return json.loads((tmp_path / "new" / "compare" / "comparison.json").read_text())

    def cut(found):
        return found["models"][1]

    loose, tight, none = (cut(chosen(most)) for most in (100, 1, 0))
    assert [one["speedup"] for one in loose["tried"]] == [5]
    tried = [one["speedup"] for one in tight["tried"]]
    assert tried == [5, 4, 2, 1][: len(tried)]
    assert tight["speedup"] == tried[-1] < 5
    assert tight["within"]
    assert all(one["drop"] > 0.01 for one in tight["tried"][:-1])
    assert tight["tried"][-1]["drop"] <= 0.01
    assert none["within"] == (none["tried"][-1]["drop"] <= 0)
    other = chosen(1, f"task.data_dir={data}")
    assert cut(other)["tried"] == tight["tried"]
    assert cut(other)["metric"] == pytest.approx(1 - tight["metric"])
    assert cut(other)["measured_speedup"] is None


def test_tables_and_picture_come_from_the_same_rows(root, compared):
    folder = root / "out" / "compare"
    with (folder / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["metric"]) for row in rows] == [row["metric"] for row in compared["models"]]
    assert [row["name"] for row in rows] == [row["name"] for row in compared["models"]]
    text = (folder / "comparison.md").read_text()
    for row in compared["models"]:
        assert f"{row['measured_speedup']:.2f}x | {row['ci'][0]:.2f}–{row['ci'][1]:.2f}" in text
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_says_whose_validation_drops_are_flattered(root, compared):
    flattered = [name for name in dict.fromkeys(row["name"] for row in compared["models"]) if "pruned" in name]
    line = f"chosen on some of these examples, so drops on them flatter {', '.join(flattered)}."
    assert flattered
    assert line in (root / "out" / "compare" / "comparison.md").read_text()


def test_a_precision_that_the_device_does_not_offer_is_left_out(root, tmp_path, monkeypatch):
    monkeypatch.setattr("latadj.devices.device.computes_bf16", lambda: False)
    # Each in a process of its own is what tests of `latadj bench` look at.
    monkeypatch.setattr("latadj.benchmark.memory.in_own_process", lambda function, *given: function(*given))
    models = [f"+compare.models.{name}={{checkpoint:{root / 'out' / name}}}" for name in ("plain", "pruned")]
    given = [*toy.overrides(root), *models, f"folder={tmp_path}", "compare.precisions=[fp32,bf16]"]
    other = json.loads((root / "out" / "prune" / "prune.json").read_text())
    other["frontier"][0]["folder"] = str(tmp_path / "pruned-0.5")
    (tmp_path / "prune").mkdir()
    (tmp_path / "prune" / "prune.json").write_text(json.dumps(other))
    run("sweep", *given, "compare.memory=true", "measure.batches=0")
    found = json.loads((tmp_path / "compare" / "comparison.json").read_text())
    assert found["left_out"] == ["bf16"]
    assert [row["precision"] for row in found["models"]] == ["fp32", "fp32"]
    assert found["candidates"] == []
    assert (
        "Left out, since this device does not compute in it: bf16."
        in (tmp_path / "compare" / "comparison.md").read_text()
    )
    assert all(10 < row["memory_mb"] < 10_000 for row in found["models"])
    refused = run("sweep", *given[:-1], "compare.precisions=[bf16]", expect=2)
    assert "this device offers none; fp32 runs everywhere" in refused.stderr


def test_a_missing_model_names_what_makes_it(root, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(root / "out" / "plain", out / "plain")
    given = [*toy.overrides(root), "experiment=axformer", f"folder={out}"]
    message = run("sweep", *given, expect=2).stderr
    assert f"compare.models.pruned: no model in {out / 'pruned'}; make it with `latadj prune folder={out}`" in message
    assert "missing too: dial, pruned+dial" in message
    assert message.count("\n") == 1
    assert not (out / "compare").exists()
    shutil.copytree(root / "out" / "pruned", out / "pruned")
    shutil.copytree(root / "out" / "checkpoint", out / "checkpoint")
    message = run("sweep", *given, expect=2).stderr
    made = f"model.path={out}/pruned folder={out}/pruned-dial plain.epochs=0 adjust.teacher={out}/plain"
    assert f"`latadj finetune {made}`" in message


@pytest.mark.parametrize(
    ("models", "option", "message"),
    [
        (["plain"], "seed=0", "compare.models=a: expected at least two"),
        (["checkpoint", "plain"], "compare.models.a.speedup=2", "the first model is the full one"),
        (["plain", "plain"], "compare.models.b.speedup=2", "plain has no dial; make one with `latadj calibrate"),
        (["plain", "checkpoint"], "compare.models.b.speedup=fast", "compare.models.b.speedup=fast: expected a number"),
        (["plain", "checkpoint"], "compare.precisions=[fp8]", "compare.precisions=[fp8]: expected some of fp32, bf16"),
        (["plain", "checkpoint"], "compare.max_drop=-1", "compare.max_drop=-1.0: expected at least 0 points"),
        (["plain", "checkpoint"], "speedup=2", "speedup=2: several models are compared, each at speedups of its own"),
        (["plain", "checkpoint"], "device.precision=int8", "each in all of compare.precisions=[fp32,bf16,int8]"),
        (["plain", "checkpoint"], "task=speeches", "classifiers, taggers and readers are compared"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(root, tmp_path, models, option, message):
    given = [
        f"+compare.models.{name}={{checkpoint:{root / 'out' / folder}}}"
        for name, folder in zip("ab", models, strict=False)
    ]
    given = [f"{one[:-1]},speedup:1}}" for one in given]
    found = run("sweep", *toy.overrides(root), *given, f"folder={tmp_path / 'new'}", option, expect=2)
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_row_says_whether_attention_is_hard(compared):
    comparison = Comparison.from_json(compared)
    assert "Top-k attention" not in comparison.document().markdown()
    for row in comparison.models[2:4]:
        row.topk_attention = [None, 0.5, 3, None]
    line = "Top-k attention in pruned: layer 2: 50% of the keys, layer 3: 3 keys."
    assert comparison.document().markdown().count(line) == 1


def test_a_table_says_whose_dial_is_marked_in_flops(compared):
    comparison = Comparison.from_json(compared)
    for row in comparison.models:
        row.target, row.speedup = None, 1.0
    dial, other, *_ = [row for row in comparison.models if "dial" in row.name]
    dial.target, other.target, dial.speedup, other.speedup = "flops", "latency", 2.0, 2.0
    assert f"'at' is counted in FLOPs for {dial.key}, and in measured time" in comparison.document().markdown()
    dial.speedup = 1.0
    assert "counted in FLOPs" not in comparison.document().markdown()


def test_as_many_models_as_the_recipe_compares_have_markers_of_their_own():
    assert len(MARKERS) == len(set(MARKERS)) >= 9


def test_seeds_stand_side_by_side_under_the_first_table(compared):
    first = Comparison.from_json(compared)
    second = Comparison.from_json({**compared, "config": {**compared["config"], "seed": 1}})
    for row in second.models:
        row.drop += 0.02
    page = markdown_of_task([first, second])
    assert first.document().markdown() in page
    table = page.removeprefix(first.document().markdown())
    assert "| model | seed 0 | seed 1 | mean |" in table
    (line,) = [line for line in table.splitlines() if line.startswith("| pruned |")]
    (row,) = [row for row in first.models if row.key == "pruned fp32"]
    share = row.parameters / first.models[0].parameters
    made_up = f"({row.over_plain.speedup:.2f}x, {share:.2f})"
    drops = [f"{100 * row.drop + extra:+.2f}" for extra in (0, 2, 1)]
    assert line == "| pruned | " + " | ".join(f"{drop} {made_up}" for drop in drops) + " |"
    assert markdown_of_task([first]) == first.document().markdown()
    second.models = [row for row in second.models if row.name != "pruned"]
    (line,) = [one for one in markdown_of_task([first, second]).splitlines() if one.startswith("| pruned | +")]
    assert line == f"| pruned | {drops[0]} {made_up} | – | {drops[0]} {made_up} |"
    # What only a later one compared stands there in brief, and in a table of its own.
    page = markdown_of_task([second, first])
    (line,) = [one for one in page.splitlines() if one.startswith("| pruned | –")]
    assert line == f"| pruned | – | {drops[0]} {made_up} | {drops[0]} {made_up} |"
    assert page.count("### ") == 2
    assert f"{first.test_examples} test examples, seed 0" in page
    second.models = [row for row in first.models if row.precision == "fp32"]
    assert markdown_of_task([second, first]).count("### ") == 2, "int8 is only there at seed 0"
    assert markdown_of_task([first, second]).count("### ") == 1


def page_of(folder):
    run("report", f"folder={folder}")
    html = (folder / "report" / "report.html").read_text()
    return " ".join(re.sub(r"<(script|style)>.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def test_the_report_shows_the_comparison_and_what_pruning_left(root, compared):
    page = page_of(root / "out")
    assert "Compared: models in every precision" in page
    (row,) = [row for row in compared["models"] if (row["name"], row["precision"]) == ("pruned", "int8")]
    assert f"pruned int8 1x {100 * row['metric']:.2f}" in page
    assert "Pruning: what is left" in page


def test_a_folder_in_which_only_pruning_was_done_has_a_report_too(root, tmp_path):
    shutil.copytree(root / "out" / "prune", tmp_path / "prune")
    page = page_of(tmp_path)
    found = json.loads((tmp_path / "prune" / "prune.json").read_text())
    assert f"{found['model']} on {found['task']}" in page
    (model,) = found["frontier"]
    layer = model["layers"][0]
    heads, neurons = (
        f"{left} of {of}" if left else "none" for left, of in ((len(layer["heads"]), 4), (layer["neurons"], 64))
    )
    assert f"1 {heads} {neurons}" in page
    assert f"{model['size']['parameters'] / found['full']['parameters']:.2f}x" in page
