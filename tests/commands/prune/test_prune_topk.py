"""Top-k attention through the command line: chosen by latadj prune, and carried along by what follows."""

import json

import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.pruning_runs import QUICK, SPLIT, killed, plain_project

import latadj
from latadj.checkpoints.metadata import read_metadata
from latadj.elimination.attach import as_plain, is_attached, topk_attention_of

HARD = "topk_attention.k=[0.75,0.5,3]"
RECOVERY = "prune.recover_epochs=1"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return plain_project(tmp_path_factory)


def pruned(root, out, *options):
    checkpoint = f"checkpoint={root / 'out' / 'plain'}"
    run("prune", *toy.overrides(root), checkpoint, f"folder={out}", SPLIT, *QUICK, HARD, RECOVERY, *options)
    return json.loads((out / "prune" / "prune.json").read_text())


@pytest.fixture(scope="module")
def hard(root):
    return pruned(root, root / "hard")


def test_every_layer_that_attends_tries_every_number_of_keys(hard):
    (model,) = hard["frontier"]
    attending = [index for index, layer in reversed(list(enumerate(model["layers"]))) if layer["heads"]]
    assert [(trial["layer"], trial["k"]) for trial in hard["topk_trials"]] == [
        (layer, k) for layer in attending for k in (0.75, 0.5, 3)
    ]


def test_what_is_taken_never_lowers_the_metric_and_is_saved(root, hard):
    taken = [trial for trial in hard["topk_trials"] if trial["kept"]]
    assert taken
    assert all(trial["metric_after"] >= trial["metric_before"] for trial in taken)
    (model,) = hard["frontier"]
    chosen = [None, None]
    for trial in taken:
        chosen[trial["layer"]] = trial["k"]
    assert model["topk_attention"] == chosen
    found, _ = latadj.load(root / "hard" / "pruned")
    assert topk_attention_of(found).to_json() == chosen
    assert model["validation"]["metric"] >= model["validation"]["full_metric"]


def test_the_log_and_the_terminal_say_which(root, hard):
    log = (root / "hard" / "prune" / "prune.log").read_text()
    assert log.count("attends to") == len(hard["topk_trials"])
    assert "top-k attention: layer" in log


def test_numbers_and_shares_are_tried_from_many_keys_to_few(root, tmp_path):
    found = pruned(root, tmp_path, "topk_attention.k=[0.2,4096,0.9,5]", "prune.recover_epochs=0")
    last = max(trial["layer"] for trial in found["topk_trials"])
    assert [trial["k"] for trial in found["topk_trials"] if trial["layer"] == last] == [0.9, 5, 0.2]
    log = (tmp_path / "prune" / "prune.log").read_text()
    assert "topk_attention.k=4096 is left out: no text that judges has more than" in log


def test_a_model_with_hard_attention_is_not_pruned_again(root, hard, tmp_path):
    checkpoint = f"checkpoint={root / 'hard' / 'pruned'}"
    found = run("prune", *toy.overrides(root), checkpoint, f"folder={tmp_path / 'out'}", SPLIT, *QUICK, expect=2)
    assert "has top-k attention (layer" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_run_killed_after_the_choice_goes_on_with_it(root, hard, tmp_path, monkeypatch):
    with killed(monkeypatch, lambda state: state.topk is not None):
        pruned(root, tmp_path / "out")
    found = pruned(root, tmp_path / "out", "resume=true")
    assert found["topk_trials"] == hard["topk_trials"]
    assert found["frontier"][0]["validation"] == hard["frontier"][0]["validation"]


def test_adjustable_fine_tuning_carries_it_along(root, hard):
    chosen = hard["frontier"][0]["topk_attention"]
    folder = root / "hard" / "pruned-dial"
    options = [f"model.path={root / 'hard' / 'pruned'}", f"folder={folder}", "plain.epochs=0", "adjust.max_steps=4"]
    run("finetune", *toy.overrides(root), *options, SPLIT)
    for made in ("plain", "checkpoint"):
        assert read_metadata(folder / made).topk_attention.to_json() == chosen
    run("sweep", *toy.overrides(root), f"folder={folder}", "speedup=1", "measure.batches=0", "dial.target=flops")
    found = json.loads((folder / "sweep" / "sweep.json").read_text())
    # The adjustable model and the plain one that is held against it both attend to what they were trained with.
    assert found["plain_metric"] > 0.7
    assert found["rows"][0]["metric"] > 0.7


def test_so_does_plain_fine_tuning_and_going_on_after_a_kill(root, hard):
    chosen, folder = hard["frontier"][0]["topk_attention"], root / "hard" / "again"
    options = [
        f"model.path={root / 'hard' / 'pruned'}",
        f"folder={folder}",
        "plain.max_steps=2",
        "adjust.max_steps=2",
        SPLIT,
    ]
    run("finetune", *toy.overrides(root), *options)
    state = json.loads((folder / "finetune" / "state.json").read_text())
    del state["stages"]["adjustable"]
    (folder / "finetune" / "state.json").write_text(json.dumps(state))
    run("finetune", *toy.overrides(root), *options, "resume=true")
    for made in ("plain", "checkpoint"):
        assert read_metadata(folder / made).topk_attention.to_json() == chosen


@torch.no_grad()
def test_the_plain_model_keeps_it_as_transformers_has_none(root, hard):
    model, tokenizer = latadj.load(root / "hard" / "pruned")
    batch = tokenizer(["the film is a very long good story"], return_tensors="pt")
    before = model(**batch).logits
    assert torch.equal(as_plain(model)(**batch).logits, before)
    assert is_attached(model)
    soft, _ = latadj.load(root / "out" / "plain")
    assert not is_attached(as_plain(soft))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["topk_attention.k=0"],
            "topk_attention.k=0, k=0: expected an integer >= 1, or a share in (0, 1] such as 0.25",
        ),
        (["topk_attention.k=[0.5,1.5]"], "topk_attention.k=[0.5,1.5], k=1.5: expected an integer >= 1"),
        (["topk_attention.k=[0.5,1.0]"], "k=1.0: all keys are no selection; expected a share below 1"),
        (["topk_attention.k=[8,8]"], "topk_attention.k=[8,8]: expected numbers of keys, or their shares, each once"),
        (
            ["prune.objective=size", "prune.budget=0.5"],
            "topk_attention.k=[0.75,0.5,3]: prune.objective=size chooses no top-k attention, which saves nothing",
        ),
    ],
)
def test_bad_input_gets_one_line(root, tmp_path, options, message):
    common = [*toy.overrides(root), f"checkpoint={root / 'out' / 'plain'}", f"folder={tmp_path / 'out'}", SPLIT, HARD]
    found = run("prune", *common, *options, expect=2)
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
