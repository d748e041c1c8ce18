"""Two writers in one place: one of them is refused or both are done, and a reader sees what one wrote, whole."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

from fuzz.harness import Edge
from hypothesis import strategies as st

from latadj.utils.files import read_json, write_folder, write_json
from latadj.utils.locks import only_writer

# What each of two writers writes, one after the other.
documents = st.lists(st.integers(0, 9), min_size=1, max_size=4)
cases = st.tuples(documents, documents, st.integers(1, 20_000))


def together(*works: Callable[[], None]) -> None:
    """Run all at once; the first error of any of them is raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def guarded(work: Callable[[], None]) -> None:
        start.wait()
        try:
            work()
        except BaseException as error:  # of another thread, to be raised in this one
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def one_file(folder: Path, material: None, case: tuple[list[int], list[int], int]) -> None:
    first, second, size = case
    path = folder / "state.json"
    whole = [[number] * size for number in {*first, *second}]
    write_json(path, whole[0])

    def writer(numbers: list[int]) -> Callable[[], None]:
        return lambda: [write_json(path, [number] * size) for number in numbers] and None

    def reader() -> None:
        for _ in range(5):
            assert read_json(path, "state", "start anew") in whole

    together(writer(first), writer(second), reader)
    assert read_json(path, "state", "start anew") in [[first[-1]] * size, [second[-1]] * size]
    path.unlink()
    assert not list(folder.iterdir()), "a temporary file was left behind"


def one_folder(folder: Path, material: None, case: tuple[list[int], list[int], int]) -> None:
    first, second, size = case
    target, lock = folder / "model", folder / ".lock"
    refused: list[str] = []

    def fill(number: int) -> Callable[[Path], None]:
        def into(temporary: Path) -> None:
            (temporary / "a.json").write_text(json.dumps([number] * size))
            (temporary / "b.json").write_text(json.dumps([number] * size))

        return into

    def writer(numbers: list[int]) -> Callable[[], None]:
        def write() -> None:
            for number in numbers:
                try:
                    with only_writer(lock, "folder=model"):
                        write_folder(target, fill(number))
                except ValueError as error:
                    refused.append(str(error))

        return write

    together(writer(first), writer(second))
    assert all("another run is writing here" in line and "\n" not in line for line in refused)
    assert len(refused) < len(first) + len(second), "nobody wrote"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "model"], "something was left behind"
    one, other = (json.loads((target / name).read_text()) for name in ("a.json", "b.json"))
    assert one == other, "half of one and half of the other"


def nothing(folder: Path) -> None:
    """Both begin with an empty folder."""


EDGES = [
    Edge("two writers of a file", nothing, cases, one_file, 30),
    Edge("two writers of a folder", nothing, cases, one_folder, 30, writes=True),
]
