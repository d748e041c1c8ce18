"""latadj prune through the real command line: families beside BERT, taggers, and readers that answer questions."""

import json

import pandas as pd
import pytest
import torch
from helpers import answer_data as quiz
from helpers import tagging_data as tagging
from helpers import toy_project as toy
from helpers import word_tokenizer as words
from helpers.command_line import run
from helpers.pruning_runs import killed, same
from helpers.tiny_models import tiny

import latadj
from latadj.pruning import structure_of
from latadj.pruning.surgery import parameter_count

QUICK = ["prune.groups=2", "prune.examples=32", "prune.gradient_examples=16", "prune.step=0.2", "prune.step_epochs=0"]
HALF = [*QUICK, "prune.objective=size", "prune.budget=0.5", "prune.recover_epochs=0"]
ARCHITECTURES = ("distilbert", "gpt2", "llama", "t5")


def result(folder):
    return json.loads((folder / "prune" / "prune.json").read_text())


@pytest.fixture(scope="module", params=ARCHITECTURES)
def root(request, tmp_path_factory):
    """A random classifier of a architecture, with sentences that a word tells apart, pruned to half its size."""
    root = tmp_path_factory.mktemp(request.param)
    model = tiny(request.param, layers=2, vocab_size=300, max_position_embeddings=200, num_labels=2)
    model.config.id2label, model.config.label2id = {0: "bad", 1: "good"}, {"bad": 0, "good": 1}
    model.save_pretrained(root / "model")
    words.tokenizer(ends=request.param == "t5", model_max_length=64).save_pretrained(root / "model")
    lines = (toy.write_task(root / "sst", 320) / "train.tsv").read_text().splitlines()[1:]
    texts, labels = zip(*(line.split("\t") for line in lines), strict=True)
    names = ["good" if label == "1" else "bad" for label in labels]
    pd.DataFrame({"text": texts, "label": names}).to_csv(root / "own.csv", index=False)
    # The decoder of a T5 stays; at half their size these two have attention in one layer only, and too short a dial.
    budget = "prune.budget=0.8" if request.param in {"t5", "distilbert", "gpt2"} else "prune.budget=0.5"
    run("prune", *overrides(root), f"checkpoint={root / 'model'}", f"folder={root / 'out'}", *HALF, budget)
    (root / "out" / budget.replace("prune.budget=", "pruned-")).rename(root / "out" / "pruned")
    return root


def overrides(root):
    data = [f"task.data_files={root / 'own.csv'}", "task.text=text", "task.label=label"]
    return [
        "task=text_classification",
        *data,
        "task.split={train:0.6,validation:0.3,test:0.1}",
        "device.threads=1",
        "device.name=cpu",
    ]


def test_every_family_is_pruned_down_to_a_budget(root):
    found = result(root / "out")
    full, _ = latadj.load(root / "model", precision=None)
    model, _ = latadj.load(root / "out" / "pruned", precision=None)
    assert parameter_count(full) == found["full"]["parameters"]
    assert parameter_count(model) == found["frontier"][0]["size"]["parameters"]
    assert parameter_count(model) <= found["frontier"][0]["budget"] * parameter_count(full)
    assert structure_of(model) is not None


def test_queries_go_with_their_keys_and_values(root):
    model, _ = latadj.load(root / "out" / "pruned", precision=None)
    maps = {name.split(".")[-2]: weight for name, weight in model.named_parameters() if name.endswith("proj.weight")}
    if "k_proj" not in maps:
        pytest.skip("every head has its own keys and values")
    assert maps["q_proj"].shape[0] == 2 * maps["k_proj"].shape[0] == 2 * maps["v_proj"].shape[0]


def test_a_dial_is_fine_tuned_and_calibrated_on_what_is_left(root):
    folder = root / "dial"
    common = [*overrides(root), f"folder={folder}"]
    options = ["plain.epochs=0", "adjust.max_steps=2", "calibration.examples=16"]
    run("finetune", *common, f"model.path={root / 'out' / 'pruned'}", *options)
    run("calibrate", *common, "search.trials=0", "calibration.examples=8", "clock.rounds=0")
    before, _ = latadj.load(root / "out" / "pruned", precision=None)
    model, tokenizer = latadj.load(folder / "checkpoint", speedup=2, precision=None)
    assert structure_of(model) == structure_of(before)
    with torch.no_grad():
        logits = model(**tokenizer(["a very good film"], return_tensors="pt")).logits
    assert logits.shape == (1, 2)
    assert logits.isfinite().all()


def test_a_tagger_keeps_the_metric_it_is_judged_by(tmp_path):
    tagging.write_model(tmp_path / "model", layers=2)
    tagging.write_task(tmp_path / "data", 200)
    common = tagging.overrides(tmp_path)
    run("finetune", *common, "adjustable=false", "plain.epochs=8", "model.learning_rate=3e-3", "plain.warmup=0")
    run("prune", *common, *QUICK, "prune.recover_epochs=0")
    found = result(tmp_path / "out")
    (model,) = found["frontier"]
    assert found["metric"] == "entity_f1"
    assert model["validation"]["metric"] >= model["validation"]["full_metric"] > 0.5
    # Sentences judge, not words.
    assert model["validation"]["examples"] + model["holdout"]["examples"] == 50


def test_a_tagger_judged_in_bf16_goes_on_after_a_kill_to_the_same_records(tmp_path, monkeypatch):
    tagging.write_model(tmp_path / "model", layers=2)
    tagging.write_task(tmp_path / "data", 200)
    given = [*tagging.overrides(tmp_path), *QUICK, f"checkpoint={tmp_path / 'model'}", "prune.recover_epochs=0"]
    given += ["device.train_precision=bf16", "prune.tolerance=0.05", "prune.max_loss_increase=1"]
    run("prune", *given, f"folder={tmp_path / 'undisturbed'}")
    whole = result(tmp_path / "undisturbed")
    with killed(monkeypatch, lambda state: len(state.progress.removed) == 2):
        run("prune", *given, f"folder={tmp_path / 'out'}")
    run("prune", *given, f"folder={tmp_path / 'out'}", "resume=true")
    assert same(result(tmp_path / "out"), whole)


def test_a_reader_is_judged_by_answers_out_of_whole_contexts(tmp_path):
    quiz.write_model(tmp_path / "model", layers=2)
    quiz.write_json(tmp_path / "train.json", quiz.articles(120, seed=0, name="train"))
    quiz.write_json(tmp_path / "test.json", quiz.articles(30, seed=1, name="test"))
    files = f"task.data_files={{train:{tmp_path / 'train.json'},test:{tmp_path / 'test.json'}}}"
    common = ["task=squad", "model=bert", f"model.path={tmp_path / 'model'}", files, f"folder={tmp_path / 'out'}"]
    common += ["task.max_length=32", "task.doc_stride=8", "task.max_query_length=6", "device.threads=1"]
    common += ["task.split={train:0.6,validation:0.4}", "device.name=cpu"]
    run("finetune", *common, "adjustable=false", "plain.epochs=3", "model.learning_rate=2e-3", "plain.warmup=0")
    run("prune", *common, *HALF)
    found = result(tmp_path / "out")
    (model,) = found["frontier"]
    assert found["metric"] == "squad_f1"
    assert model["size"]["parameters"] <= 0.5 * found["full"]["parameters"]
    assert model["validation"]["examples"] > 8
