"""finetune -> sweep of a tiny language model on a text file, through the real command line."""

import json
from statistics import geometric_mean

import pytest
from helpers.language_project import overrides, shared
from helpers.pruning_runs import killed_in
from helpers.tiny_language_models import VOCABULARY
from safetensors.torch import load_file
from typer.testing import CliRunner

from latadj.cli import app


def run(*arguments, expect=0):
    found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == expect, found.output
    return found


def result(root, command):
    return json.loads((root / "out" / command / f"{command}.json").read_text())


@pytest.fixture(scope="module", params=["llama", "t5"])
def adjusted(request, tmp_path_factory):
    """A folder in which a language model with random weights got adjustable, and the options of that."""
    root = tmp_path_factory.mktemp(request.param)
    options = overrides(root, request.param)
    # A teacher with random weights has little to say.
    own = ["adjust.distillation_loss_weight=0.1", "adjust.learning_rate=1e-2"]
    run("finetune", *options, *own, "adjust.max_steps=40", "adjust.eval_steps=20", "adjust.accumulate=2")
    return root, options


def test_a_language_model_used_as_it_is_gets_adjustable(adjusted):
    root, _ = adjusted
    found = result(root, "finetune")
    # Without epochs the plain model is the pretrained one.
    assert set(found["validation"]["plain"]) == {"seconds"}
    before, plain = (load_file(root / name / "model.safetensors") for name in ("model", "out/plain"))
    assert all(plain[name].equal(weight) for name, weight in before.items())
    after = load_file(root / "out" / "checkpoint" / "model.safetensors")
    assert not all(after[name].equal(weight) for name, weight in before.items())
    found = found["validation"]["adjustable"]
    assert found["eval_perplexity_1.5x"] < 40 < VOCABULARY
    assert found["eval_score"] == pytest.approx(
        geometric_mean(value for name, value in found.items() if "perplexity" in name)
    )
    assert not list((root / "out" / "finetune").rglob("optimizer.pt"))


def test_drops_count_from_the_pretrained_model_in_a_sweep(adjusted):
    root, options = adjusted
    run("sweep", *shared(options), "speedup=[1,1.5]", "measure.prompts=0")
    swept = result(root, "sweep")
    assert swept["plain_metric"] > VOCABULARY / 2  # random weights
    assert [row["metric"] < 0.7 * swept["plain_metric"] for row in swept["rows"]] == [True, True]
    best = min(swept["plain_metric"], swept["baseline_metric"])
    assert swept["rows"][1]["increase"] == pytest.approx(swept["rows"][1]["metric"] / best - 1)


def test_a_plain_stage_may_come_first(tmp_path):
    options = overrides(tmp_path)
    run("finetune", *options, "plain.epochs=2", "plain.learning_rate=3e-3", "adjust.max_steps=2")
    stages = result(tmp_path, "finetune")["validation"]
    assert stages["plain"]["eval_perplexity"] < 40
    before, plain = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "out/plain"))
    assert not all(plain[name].equal(weight) for name, weight in before.items())
    # The adjustable stage goes on from there.
    assert stages["adjustable"]["eval_perplexity_1x"] < 40


def test_training_stops_at_the_steps_allowed_and_goes_by_them(tmp_path):
    options = overrides(tmp_path)
    run("finetune", *options, "adjust.max_steps=3", "adjust.epochs=50", "adjust.gradient_checkpointing=true")
    log = (tmp_path / "out" / "finetune" / "finetune.log").read_text()
    assert "adjustable fine-tuning: 3 of 3" in log
    assert log.count("validation perplexity_1x") == 1


def test_a_stage_may_cut_text_in_its_own_way(tmp_path):
    cut = ["adjust.prompt_length=9", "adjust.continuation_length=6", "adjust.stride=3", "adjust.windows=2"]
    run("finetune", *overrides(tmp_path), "adjust.epochs=1", "adjust.batch_size=1", *cut)
    log = (tmp_path / "out" / "finetune" / "finetune.log").read_text()
    assert "task text: 90 examples from 45 of 45 documents" in log
    assert "task text: 10 examples from 10 of 10 documents" in log  # validation is cut as the task says
    assert "adjustable fine-tuning: 90 of 90" in log


def test_resume_goes_on_after_a_kill(tmp_path, monkeypatch):
    settings = [*overrides(tmp_path), "adjust.max_steps=30", "adjust.epochs=99", "adjust.eval_steps=10"]
    with killed_in(monkeypatch, "adjustable fine-tuning", step=15):
        run("finetune", *settings)
    assert list((tmp_path / "out" / "finetune" / "adjustable").glob("checkpoint-*/order.safetensors"))
    assert not (tmp_path / "out" / "checkpoint").exists()
    run("finetune", "resume=true", *settings)
    log = (tmp_path / "out" / "finetune" / "finetune.log").read_text()
    assert "adjustable fine-tuning: going on from" in log
    assert (tmp_path / "out" / "checkpoint" / "latadj.json").is_file()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("adjustable=false", "plain.epochs=0 with adjustable=false: nothing would be trained"),
        (
            "adjust.word_dropout_copies=1",
            "adjust.word_dropout_copies=1: only texts with one label each can lose words; expected 0",
        ),
        ("adjust.full_share=2", "adjust.full_share=2.0: expected a share from 0 to 1, or null"),
        ("adjust.stride=0", "adjust.stride=0: expected at least 1"),
        ("adjust.max_steps=0", "adjust.max_steps=0: expected at least 1"),
        ("adjust.profiles=[searched]", "expected some of geometric, flat, acc"),
        ("adjust.epochs=0", "adjust.epochs=0.0: expected a number above 0"),
        ("task.type=translation", "task.type=translation: expected one of classification, generation"),
    ],
)
def test_bad_options_are_refused_in_one_line(tmp_path, option, message):
    found = run("finetune", *overrides(tmp_path), option, expect=2)
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_head_cannot_leave_its_plain_stage_out():
    found = run("finetune", "plain.epochs=0", expect=2)
    assert "has no head for classification with 2 outputs, and plain.epochs=0 trains none" in found.stderr
    assert found.stderr.count("\n") == 1
