import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import toy_project as toy

from latadj.utils.files import atomic_write, read_json, real_path, recover_folder, write_folder, write_json, write_text


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text('{"a": ')
        raise RuntimeError
    assert read_json(path, "result", "run again") == {"a": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["result.json"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "checkpoint"
    write_folder(folder, lambda target: write_text(target / "a", "old"))

    def fail(target):
        write_text(target / "a", "new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_folder(folder, fail)
    assert (folder / "a").read_text() == "old"
    write_folder(folder, lambda target: write_text(target / "b", "new"))
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("process", ["", f"{2**30}-"], ids=["of an earlier version", "ended"])
@pytest.mark.parametrize("name", ["checkpoint", "run[1]"])
def test_a_kill_between_two_renames_is_mended(tmp_path, name, process):
    folder = tmp_path / name
    write_folder(folder, lambda target: write_text(target / "a", "old"))
    folder.rename(tmp_path / f".{name}-{process}x1y2z3w4-old")  # what a kill would leave
    (tmp_path / f".{name}-{process}x1y2z3w4").mkdir()
    recover_folder(folder)
    assert (folder / "a").read_text() == "old"
    write_folder(folder, lambda target: write_text(target / "a", "new"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_another_process_fills_at_this_moment_stays(tmp_path):
    def fill(target):
        write_text(target / "a", "first")
        write_folder(tmp_path / "checkpoint", lambda other: write_text(other / "a", "second"))
        write_text(target / "b", "first")

    write_folder(tmp_path / "checkpoint", fill)
    assert {path.name: path.read_text() for path in (tmp_path / "checkpoint").iterdir()} == {"a": "first", "b": "first"}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_reader_that_comes_between_two_renames_loses_nothing(tmp_path, monkeypatch):
    folder, rename = tmp_path / "checkpoint", Path.replace
    write_folder(folder, lambda target: write_text(target / "a", "old"))

    def replace_and_read(path, target):
        found = rename(path, target)
        if path == folder:
            monkeypatch.undo()
            recover_folder(folder)
            assert (folder / "a").read_text() == "old"
        return found

    monkeypatch.setattr(Path, "replace", replace_and_read)
    write_folder(folder, lambda target: write_text(target / "a", "new"))
    assert (folder / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_folder_whose_name_begins_alike_is_left_alone(tmp_path):
    for name in (".pruned-0.5-x1y2z3w4-old", ".pruned-0.5-x1y2z3w4"):  # a kill while pruned-0.5 was written
        write_text(tmp_path / name / "a", "half")
    recover_folder(tmp_path / "pruned")
    assert not (tmp_path / "pruned").exists()
    write_folder(tmp_path / "pruned", lambda target: write_text(target / "a", "all"))
    recover_folder(tmp_path / "pruned-0.5")
    assert (tmp_path / "pruned-0.5" / "a").read_text() == "half"


def test_numbers_that_json_has_not_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_says_how_to_mend_it(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2')
    with pytest.raises(ValueError, match=r"a.json: this dial file is damaged or was cut short .*; calibrate again"):
        read_json(tmp_path / "a.json", "dial file", "calibrate again")


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path):
    """A limit on file sizes fails a write half-way, as a full disk does."""
    toy.write_model(tmp_path / "model")
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    code = (
        "import sys; from pathlib import Path\n"
        "from latadj.checkpoints import checkpoint; from latadj.checkpoints.metadata import CheckpointMetadata\n"
        "folder = Path(sys.argv[1]); model, tokenizer = checkpoint.load(folder)\n"
        "checkpoint.save(model, tokenizer, folder, CheckpointMetadata())"
    )
    limit = len(weights) // 2
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert found.returncode != 0
    assert "OSError" in found.stderr
    assert "cannot be written, the disk may be full" in found.stderr
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_disk_that_is_full_for_the_tokenizer_is_said_to_be(tmp_path):
    def fill(folder):
        raise Exception("No space left on device (os error 28)")  # as tokenizers words it

    with pytest.raises(OSError, match=r"model cannot be written, the disk may be full: No space left"):
        write_folder(tmp_path / "model", fill)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "1" * 5000])
def test_what_python_cannot_read_as_json_is_damaged(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a.json: this dial file is damaged or was cut short .*; calibrate again"):
        read_json(tmp_path / "a.json", "dial file", "calibrate again")


def test_what_a_killed_process_left_goes_and_what_another_writes_stays(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, others = f".prune-{ended.pid}-abcdefgh.png", (f".prune-{os.getppid()}-abcdefgh.png", ".prune-mine.png")
    for name in (left, *others):
        (tmp_path / name).write_text("half")
    with atomic_write(tmp_path / "prune.png") as temporary:
        temporary.write_text("whole")
        (during,) = set(tmp_path.iterdir()) - {tmp_path / name for name in others}
        assert during == temporary
    assert {path.name for path in tmp_path.iterdir()} == {"prune.png", *others}


def test_links_in_a_circle_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert real_path(tmp_path / "loop") == tmp_path / "loop"
