"""Killed at every moment that matters, a run goes on and ends with the bytes of an undisturbed one."""

import os
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers  # noqa: F401  once, and not in each process that is killed
from pyarrow import parquet

from latadj.commands.predict.predict import _stream
from latadj.config import PredictConfig
from latadj.inference.streams.layouts import Layout
from latadj.inference.streams.reading import open_reader
from latadj.inference.streams.rows import ColumnOptions
from latadj.inference.streams.served_embeddings import Embeddings
from latadj.inference.streams.served_tasks import Labels
from latadj.inference.streams.vector_files import NpyLayout, ParquetLayout
from latadj.inference.streams.writing import FileOutput, Paths, PredictState, state_to_resume

WINDOW = 4
SETTINGS = {"input": "texts", "speedup": 2.0}
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Engine:
    """Says how long a text is; `deadline` is what a real one has."""

    deadline = None

    def __init__(self, task):
        self.task = task

    def __call__(self, texts):
        share = np.array([1 / (1 + len(text)) for text in texts[0]], dtype=np.float32)
        return self.task.answers(np.stack([share, 1 - share], axis=1), None)


class Shares(Labels):
    """Labels whose probabilities are what the model says already."""

    def answers(self, outputs, encoded):
        return outputs


def layout_of(kind, state):
    """How each format is written; vectors of 8 bits, whose ranges the first window gives."""
    if kind in ("csv", "jsonl"):
        return Layout(kind, Shares(("short", "long")))
    task = Embeddings("int8", ranges=state.ranges)
    return {"npy": NpyLayout, "parquet": ParquetLayout}[kind](kind, task, width=2, dtype=task.dtype)


def texts(folder, count=14):
    path = folder / "texts.txt"
    path.write_text("".join("\n" if n % 5 == 2 else f"text {'x' * (n % 11)}\n" for n in range(count)))
    return str(path)


def work(folder, kind="csv", resume=False, overwrite=False, window=WINDOW):
    """What the command does between loading a model and writing its result."""
    paths = Paths(folder / f"out.{kind}")
    state = state_to_resume(paths, SETTINGS, resume=resume, overwrite=overwrite) or PredictState(SETTINGS)
    layout = layout_of(kind, state)
    reader = open_reader(str(folder / "texts.txt"), None, ColumnOptions())
    output = FileOutput(paths, layout, state, resumable=True)
    if not state.complete:
        _stream(reader, output, Engine(layout.task), layout, PredictConfig(window=window))
    output.finish()
    output.forget()
    output.close()
    reader.close()
    return state


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("out*"))}


@pytest.fixture(params=["csv", "jsonl", "npy", "parquet"])
def kind(request):
    return request.param


@pytest.fixture
def undisturbed(tmp_path, kind):
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    texts(folder)
    state = work(folder, kind)
    assert state.counts == {"read": 14, "written": 11, "broken": 3}
    found = files(folder)
    beside = {"npy": ["rows.csv", "ranges.npy"], "parquet": ["ranges.npy"]}.get(kind, [])
    assert set(found) == {f"out.{kind}", *(f"out.{kind}.{name}" for name in ["broken.csv", *beside])}
    return found


def in_child(job):
    """Exit status of a job in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            job()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(moment, job):
    """Run a job and kill -9 it before its so-manieth call that touches the disk; False where it made fewer."""

    def dying():
        calls = iter(range(10**6))

        def before(function):
            def wrapper(*arguments, **options):
                if next(calls) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return wrapper

        os.fsync = before(os.fsync)
        Path.replace = before(Path.replace)
        Path.unlink = before(Path.unlink)
        FileOutput._write = before(FileOutput._write)
        parquet.ParquetWriter.write_table = before(parquet.ParquetWriter.write_table)
        Engine.__call__ = before(Engine.__call__)
        job()

    return in_child(dying) == signal.SIGKILL


@forks
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path, kind, undisturbed):
    for moment in range(1000):
        folder = tmp_path / str(moment)
        folder.mkdir()
        (folder / "texts.txt").write_bytes((tmp_path / "undisturbed" / "texts.txt").read_bytes())
        if not killed_at(moment, lambda folder=folder: work(folder, kind)):
            break
        if (folder / f"out.{kind}").exists() and not (folder / f"out.{kind}.state.json").exists():
            assert files(folder) == undisturbed  # killed after all was done
            continue
        work(folder, kind, resume=True)
        assert files(folder) == undisturbed
    assert moment > 20


@forks
def test_killed_again_and_again_it_still_ends_with_the_same_bytes(tmp_path, kind, undisturbed):
    texts(tmp_path)
    deaths = 0
    # A Parquet file is made of its part in one go, which takes more calls.
    while killed_at(14 if kind == "parquet" else 6, lambda: work(tmp_path, kind, resume=True)):
        deaths += 1
        assert deaths < 50
    assert deaths > (1 if kind == "parquet" else 3)
    assert files(tmp_path) == undisturbed


@forks
def test_a_torn_write_is_cut_off(tmp_path, kind, undisturbed):
    texts(tmp_path)
    assert killed_at(18, lambda: work(tmp_path, kind))
    parts = sorted(tmp_path.glob("out*.part"))
    assert len(parts) == (3 if kind == "npy" else 2)
    for part in parts:
        with part.open("ab") as file:
            file.write(b"17,half a ro")
    work(tmp_path, kind, resume=True)
    assert files(tmp_path) == undisturbed


def interrupted(folder):
    texts(folder)
    assert killed_at(18, lambda: work(folder))
    return Paths(folder / "out.csv")


@forks
def test_a_run_that_was_interrupted_is_not_begun_anew_unasked(tmp_path):
    paths = interrupted(tmp_path)
    rows = PredictState.read(paths.state).counts["read"]
    assert rows > 0
    with pytest.raises(ValueError, match=f"interrupted after {rows} rows: resume=true goes on, overwrite=true starts"):
        work(tmp_path)


@forks
def test_other_settings_are_refused_by_name(tmp_path):
    paths = interrupted(tmp_path)
    with pytest.raises(ValueError, match=r"resume=true: speedup was 2\.0 and is 3\.0; go on with what"):
        state_to_resume(paths, {**SETTINGS, "speedup": 3.0}, resume=True, overwrite=False)


@forks
def test_overwriting_forgets_the_interrupted_run(tmp_path, kind, undisturbed):
    interrupted(tmp_path)
    work(tmp_path, kind, overwrite=True)
    if kind == "csv":
        assert files(tmp_path) == undisturbed


@forks
@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": "other"}', b"[]"])
def test_a_damaged_record_is_refused_with_what_to_do(tmp_path, damage):
    interrupted(tmp_path).state.write_bytes(damage)
    with pytest.raises(ValueError, match=r"interrupted run.*overwrite=true starts anew"):
        work(tmp_path, resume=True)


@forks
def test_a_part_that_somebody_shortened_is_refused(tmp_path):
    interrupted(tmp_path).part.write_bytes(b"line")
    with pytest.raises(ValueError, match="shorter than the run left it"):
        work(tmp_path, resume=True)


def test_an_output_that_is_there_is_kept_unless_it_may_be_overwritten(tmp_path):
    texts(tmp_path)
    (tmp_path / "out.csv").write_text("mine")
    (tmp_path / "out.csv.broken.csv").write_text("old")
    with pytest.raises(ValueError, match="exists already: give another name, or overwrite=true"):
        work(tmp_path)
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    work(tmp_path, overwrite=True)
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "row,label,probability"
    assert not (tmp_path / "out.csv.broken.csv").exists()


@forks
def test_a_state_with_another_number_of_files_is_refused(tmp_path, kind):
    texts(tmp_path)
    assert killed_at(18, lambda: work(tmp_path, kind))
    paths = Paths(tmp_path / f"out.{kind}")
    state = PredictState.read(paths.state)
    state.bytes = (*state.bytes, 0)
    state.write(paths.state)
    with pytest.raises(ValueError, match=r"bytes: \d files, expected \d; overwrite=true starts anew"):
        work(tmp_path, kind, resume=True)


@pytest.mark.parametrize("kind", ["csv", "npy", "parquet"])
def test_memory_does_not_grow_with_the_input(tmp_path, kind):
    peaks = []
    for count in (100, 1_000, 10_000):  # the first warms caches up
        folder = tmp_path / str(count)
        folder.mkdir()
        texts(folder, count)
        tracemalloc.start()
        work(folder, kind, window=100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        if kind == "csv":
            assert len((folder / "out.csv").read_bytes().splitlines()) == 1 + count * 4 // 5
    assert peaks[2] < 1.2 * peaks[1]  # rows that were held would double it
