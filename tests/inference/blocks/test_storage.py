"""Folders wherever fsspec reaches, and what is said of those that it does not reach."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from latadj.inference.blocks.storage import Storage, UnreachableError


class RefusedError(Exception):
    """Of no class that Python knows, as those of packages for object stores."""


@pytest.fixture
def store(monkeypatch):
    """A folder in an object store that refuses this user."""

    def refused(*arguments, **options):
        raise RefusedError("Unable to locate credentials\nmore of it")

    for name in ("isfile", "isdir", "exists", "open"):
        monkeypatch.setattr(MemoryFileSystem, name, refused)
    return Storage("memory://texts", "input")


@pytest.mark.parametrize(
    "ask",
    [Storage.files, Storage.names, lambda store: store.exists("a"), lambda store: store.open("a")],
    ids=["files", "names", "exists", "open"],
)
def test_whatever_an_object_store_raises_is_one_line(store, ask):
    with pytest.raises(UnreachableError) as refused:
        ask(store)
    assert str(refused.value) == "input=memory://texts: it cannot be read: Unable to locate credentials"


def test_an_object_store_that_takes_no_files_is_one_line(store):
    words = r"^input=memory://texts: it cannot be written: Unable to locate"
    with pytest.raises(UnreachableError, match=words), store.writing("a"):
        pass


def test_a_fault_on_this_machine_is_not_taken_for_a_store_that_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "isdir", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Storage(str(tmp_path), "input").files()
