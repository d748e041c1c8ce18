"""latadj push, and a checkpoint of the hub, against a stand-in of the hub on this machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import huggingface_hub
import pytest
from helpers import run_folders as folders
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.local_hub import COMMIT, TOKEN, local_hub
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError

import latadj
from latadj.checkpoints import checkpoint, hub_folder
from latadj.checkpoints.metadata import CheckpointMetadata, TaskSpec, read_metadata
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.current_setting import speedup_of
from latadj.elimination.dial import Dial
from latadj.reporting.model_card import sweep_of

ROOT = Path(__file__).parents[2]
FETCH = "import sys; from latadj.checkpoints.hub_folder import local_folder; print(local_folder(*sys.argv[1:]))"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run's folder: a checkpoint with a dial, its sweep, and files that belong to nobody else."""
    root = tmp_path_factory.mktemp("push")
    model, tokenizer = checkpoint.load(toy.write_model(root / "model"))
    dial = Dial((0.8,) * 4, (10, 20), layer_shapes(model), profile_type="geometric")
    spec = TaskSpec("classification", ["text"], ["no", "yes"], "accuracy", 64, 8)
    checkpoint.save(model, tokenizer, root / "run" / "checkpoint", CheckpointMetadata("films", dial, task_spec=spec))
    config = {**folders.CONFIG, "checkpoint": str(root / "run" / "checkpoint"), "model": {"path": "someone/base"}}
    folders.write(root / "run", sweep=replace(folders.sweep(), config=config))
    for name in ("optimizer.pt", "training_args.bin", "train.log", "checkpoint-5/model.safetensors", "code.py"):
        (root / "run" / "checkpoint" / name).parent.mkdir(exist_ok=True)
        (root / "run" / "checkpoint" / name).write_bytes(b"no")
    return root / "run"


@pytest.fixture
def hub(tmp_path):
    with local_hub() as hub:
        yield hub


def process(hub, tmp_path, *arguments, expect=0, **environment):
    """Run Python in a process that knows only the stand-in."""
    own = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    own |= {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1", **environment}
    found = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **own},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == expect, (found.stderr, hub.requests)
    return found


def test_a_checkpoint_goes_to_the_hub_and_comes_back_with_its_dial(run_folder, hub, tmp_path, monkeypatch):
    options = ["--private", "--revision", "small", "--license", "mit"]
    found = process(hub, tmp_path, "-m", "latadj", "push", run_folder, "me/toy", *options)
    assert found.stdout.strip().endswith(f"me/toy/commit/{COMMIT}")
    assert (hub.repos["me/toy"]["name"], hub.branches) == ("toy", ["small"])
    assert hub.repos["me/toy"].get("private") or hub.repos["me/toy"].get("visibility") == "private"
    sent = hub.files["me/toy"]
    names = {"config.json", "latadj.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"}
    assert set(sent) == names
    card = sent["README.md"].decode()
    assert card.startswith("---\n")
    for text in ("license: mit", "base_model: someone/base", "minilm on films", "| 2x |", "A <Processor>, 1 threads"):
        assert text in card
    assert 'latadj.load("me/toy", revision="small", speedup=2)' in card
    assert '`from_pretrained("me/toy", revision="small")`' in card

    # What others may have put beside it stays there.
    sent |= {"pytorch_model.bin": b"pickle", "modeling_own.py": b"raise SystemExit"}
    folder = Path(process(hub, tmp_path, "-c", FETCH, "me/toy", "small").stdout.strip())
    assert {path.name for path in folder.iterdir()} == names - {"README.md"}
    assert json.loads((folder / "latadj.json").read_text())["task"] == "films"

    # Without the hub, out of the cache.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.chdir(tmp_path)
    model, _ = latadj.load("me/toy", revision="small", speedup=3)
    assert speedup_of(model) == pytest.approx(3, rel=0.05)
    with pytest.raises(ValueError, match=r"^checkpoint me/toy at revision other: no such folder, and the Hugging Face"):
        latadj.load("me/toy", revision="other")


def test_a_model_takes_the_place_of_the_one_that_was_there_and_the_owner_decides_who_sees_it(run_folder, hub, tmp_path):
    stays = {"LICENSE": b"mine", "onnx/model.safetensors": b"other", "notes.txt": b"mine", "1_Own/code.py": b"mine"}
    goes = {"model-00001-of-00002.safetensors": b"old", "vocab.txt": b"old", "1_Pooling/config.json": b"{}"}
    hub.files["me/toy"] = {**stays, **goes, "config.json": b"{}"}
    process(hub, tmp_path, "-m", "latadj", "push", run_folder, "me/toy")
    assert not hub.repos["me/toy"].keys() & {"private", "visibility"}
    left = hub.files["me/toy"]
    assert {name: left.get(name) for name in stays} == stays
    assert not left.keys() & goes.keys()
    assert len(left["config.json"]) > 2


def test_a_license_for_a_card_of_ones_own_is_refused(run_folder, tmp_path):
    copytree(run_folder, tmp_path / "run")
    card = tmp_path / "run" / "checkpoint" / "README.md"
    card.write_text("# Mine\n")
    error = run("push", str(tmp_path / "run"), "me/toy", "--license", "mit", expect=2).stderr
    assert error.startswith("latadj push: --license mit: ") and error.count("\n") == 1
    assert "write `license: mit` at its head" in error


@pytest.mark.parametrize("newer", ["model.safetensors", "latadj.json"])
def test_a_sweep_from_before_training_or_calibration_is_not_shown(run_folder, tmp_path, newer):
    folder = copytree(run_folder, tmp_path / "run") / "checkpoint"
    config = {**folders.CONFIG, "checkpoint": str(folder)}
    folders.write(tmp_path / "run", sweep=replace(folders.sweep(), config=config))
    assert sweep_of(folder, read_metadata(folder)) is not None
    later = (tmp_path / "run" / "sweep" / "sweep.json").stat().st_mtime + 10
    os.utime(folder / newer, (later, later))
    assert sweep_of(folder, read_metadata(folder)) is None


def test_a_sweep_of_another_folder_of_the_same_name_is_not_shown(run_folder, tmp_path):
    folder = copytree(run_folder, tmp_path / "run") / "checkpoint"
    assert sweep_of(folder, read_metadata(folder)) is None  # the one that was swept is still there
    config = {**folders.CONFIG, "checkpoint": str(tmp_path / "gone" / "checkpoint")}
    folders.write(tmp_path / "run", sweep=replace(folders.sweep(), config=config))
    assert sweep_of(folder, read_metadata(folder)) is not None


def test_a_connection_that_breaks_off_is_one_line(monkeypatch, tmp_path):
    def broken(*_, **__):
        raise HTTPError("peer closed connection")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub_folder.hub, "reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(ValueError, match=r"^checkpoint me/toy: the connection to the hub broke off \(peer closed"):
        hub_folder.local_folder("me/toy")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("me/bad name", "me/bad name: no name of a repository, give one such as you/model"),
        ("toy", "toy: give the repository with its owner, such as you/toy"),
        ("me/toy", "cannot be reached; try again online"),
    ],
)
def test_a_bad_name_and_no_hub(run_folder, name, message):
    error = run("push", str(run_folder), name, expect=2).stderr
    assert error.startswith("latadj push: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("token", "message"), [("", "the hub takes models of who is logged in"), ("hf_other", "the hub refused: 403")]
)
def test_who_may_not_write_there_is_refused_in_one_line(run_folder, hub, tmp_path, token, message):
    found = process(hub, tmp_path, "-m", "latadj", "push", run_folder, "me/toy", expect=2, HF_TOKEN=token)
    assert found.stderr.startswith(f"latadj push: me/toy: {message}") and found.stderr.count("\n") == 1
    assert hub.files == {}


def test_a_model_that_is_nowhere(hub, tmp_path):
    found = process(hub, tmp_path, "-m", "latadj", "sweep", "checkpoint=me/none", expect=2)
    assert found.stderr.startswith("latadj sweep: checkpoint me/none: no such folder, and the hub has no such model")
    assert found.stderr.count("\n") == 1


def test_a_folder_is_no_model_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    names = ("me/toy", "me/toy@v1", "outputs/run", "./me/toy", "/me/toy", "toy", "a/b/c", "me/to y")
    assert [hub_folder.on_hub(name) for name in names] == [True, True, *[False] * 6]
    with pytest.raises(ValueError, match=r"^revision=v1: outputs/run is a folder"):
        hub_folder.local_folder("outputs/run", "v1")
