"""A training goes on from the newest checkpoint that is whole; a damaged one is set aside, and nothing is lost."""

import json
import shutil

import pytest
import torch
from conftest import tiny_bert
from helpers.pruning_runs import KilledError
from helpers.short_training import trained
from safetensors.torch import load_file, save_file

from latadj.training.callbacks import EMACallback, EpochOrderCallback
from latadj.training.trainer_checkpoints import last_whole_checkpoint

OPTIONS = {"epochs": 1, "ema_decay": 0.9, "eval_steps": 4, "patience": 99}
FILES = ("trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
OWN_FILES = ("ema.safetensors", "order.safetensors")


def worth(model):
    return -float(model.classifier.weight.detach().norm())


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A training that was killed with checkpoints 8 and 12."""
    folder = tmp_path_factory.mktemp("killed") / "work"
    validated = []

    def killing(model):
        validated.append(model)
        if len(validated) > 3:
            raise KilledError
        return worth(model)

    with pytest.raises(KilledError):
        trained(tiny_bert(layers=1), folder, killing, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def undisturbed(killed, tmp_path_factory):
    """The weights that it ends with."""
    folder = tmp_path_factory.mktemp("undisturbed") / "work"
    shutil.copytree(killed, folder)
    return gone_on(folder)


@pytest.fixture
def work(killed, tmp_path):
    return shutil.copytree(killed, tmp_path / "work")


def gone_on(work):
    model = tiny_bert(layers=1)
    trained(model, work, worth, **OPTIONS, resume=True)
    return model.state_dict()


def left(work):
    """Number of the checkpoint that a training would go on from."""
    model = tiny_bert(layers=1)
    found = last_whole_checkpoint(work, model, EpochOrderCallback.check, EMACallback(model, 0.9).check)
    return found and int(found.name.rsplit("-", 1)[1])


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


# A flipped bit is seen where it is part of the sums of a zip file, or of JSON.
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in (*FILES, *OWN_FILES) for damage in ("empty", "half", "gone")),
        *((name, "bit") for name in ("optimizer.pt", "trainer_state.json")),
    ],
)
def test_a_damaged_file_falls_back_to_the_older_checkpoint(work, caplog, name, damage):
    path = work / "checkpoint-12" / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        half = len(data) // 2
        path.write_bytes({"empty": b"", "half": data[:half], "bit": data[:half] + b"\xff" + data[half + 1 :]}[damage])
    assert left(work) == 8
    assert "left out" in caplog.text and "checkpoint-12" in caplog.text
    cut_short = name == "trainer_state.json" and damage == "gone"
    assert (work / "damaged-checkpoint-12" / "config.json").is_file() != cut_short


def test_a_whole_checkpoint_is_gone_on_with(work, caplog):
    assert left(work) == 12
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json"])
def test_the_training_then_ends_as_it_would_have(work, undisturbed, name):
    (work / "checkpoint-12" / name).write_bytes(b"")
    assert same(gone_on(work), undisturbed)


@pytest.mark.parametrize(
    "change",
    [
        {"best_model_checkpoint": 3},
        {"log_history": {}},
        {"log_history": [3]},
        {"stateful_callbacks": {"EarlyStoppingCallback": {"args": {"more": 1}, "attributes": {}}}},
        {"stateful_callbacks": {"TrainerControl": []}},
        {"more": 1},
        {"global_step": 11},
        {"global_step": None},
        {"max_steps": "x"},
        {"epoch": [1]},
    ],
    ids=repr,
)
def test_a_damaged_state_falls_back_too(work, caplog, change):
    path = work / "checkpoint-12" / "trainer_state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert left(work) == 8
    assert "which is damaged" in caplog.text


@pytest.mark.parametrize(
    "content", [{}, {"state": {}}, [1], b"\x80\x04garbage"], ids=["empty", "part", "list", "pickle"]
)
def test_another_object_in_place_of_the_optimizer_falls_back(work, content):
    path = work / "checkpoint-12" / "optimizer.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert left(work) == 8


def test_weights_of_another_model_fall_back(work):
    path = work / "checkpoint-12" / "model.safetensors"
    weights = load_file(path)
    name = min(weights)
    save_file({**weights, name: torch.zeros(3)}, path, {"format": "pt"})
    assert left(work) == 8


def test_without_the_best_weights_the_best_of_those_to_come_is_taken(work, caplog):
    state = json.loads((work / "checkpoint-12" / "trainer_state.json").read_text())
    best = work / "checkpoint-8"
    changed = {**state, "best_model_checkpoint": str(best), "best_global_step": 8}
    (work / "checkpoint-12" / "trainer_state.json").write_text(json.dumps(changed))
    (best / "model.safetensors").write_bytes(b"")
    gone_on(work)
    assert "the weights of the best validation" in caplog.text


def test_where_no_checkpoint_is_whole_it_begins_anew_and_says_so(work, caplog):
    for folder in work.glob("checkpoint-*"):
        (folder / "optimizer.pt").write_bytes(b"")
    fresh = tiny_bert(layers=1)
    trained(fresh, work.parent / "other", worth, **OPTIONS)
    assert same(gone_on(work), fresh.state_dict())
    assert "no checkpoint in" in caplog.text
