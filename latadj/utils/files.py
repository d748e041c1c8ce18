"""Files and folders that are there whole or not at all."""

import glob
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

# A sweep's raw timings are some hundred KB. What is far larger takes minutes and all memory to say that it is damaged.
LARGEST_JSON = 32 * 2**20
DEEPEST_JSON = 64
_HALF = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")
# How safetensors and torch.save word a write that failed.
_DISK_SIGNS = ("os error", "PytorchStreamWriter", "inline_container", "No space left")


def real_path(path: Path | str) -> Path:
    """Where a path leads, symbolic links followed; of links in a circle, which Python 3.12 raises over, the path."""
    return Path(os.path.realpath(path))


def cache_dir() -> Path:
    """The folder for what can be made again: ``LATADJ_CACHE``, or ``latadj`` in the user's cache directory."""
    own = os.environ.get("LATADJ_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(own or Path(home) / "latadj").expanduser()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes ``path`` when the block ends well, and nothing otherwise.

    What a process that was killed left of the same path goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-{os.getpid()}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` whose processes have ended: others may be writing it at this moment."""
    ours = re.compile(rf"\.{re.escape(path.stem)}-(\d+)-[a-z0-9_]{{8}}{re.escape(path.suffix)}")
    for other in path.parent.glob(f".{glob.escape(path.stem)}-*"):
        found = ours.fullmatch(other.name)
        if found and not psutil.pid_exists(int(found[1])):
            other.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file whole; NaN and infinity are refused, since JSON has neither."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, what: str, mend: str, *, finite: bool = True) -> Any:
    """Read a JSON file, no larger and no deeper than one that a run writes.

    Parameters
    ----------
    finite : refuse NaN and infinity, which JSON does not have and :func:`write_json` does not write

    Raises
    ------
    ValueError
        if it is missing, cut short or out of all proportion; the message says ``what`` it is and how to ``mend`` it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no {what} here; {mend}")
    try:
        return load_json(path, finite=finite)
    except ValueError as error:
        raise ValueError(f"{path}: this {what} is damaged or was cut short ({error}); {mend}") from error


def load_json(path: Path, *, finite: bool = True) -> Any:
    """What a JSON file holds; as :func:`read_json`, for who names the file himself.

    Raises
    ------
    ValueError
        if it is no JSON, larger than ``LARGEST_JSON``, or deeper than ``DEEPEST_JSON`` lists and objects.
    """
    if (size := path.stat().st_size) > LARGEST_JSON:
        raise ValueError(f"it has {size / 2**20:,.0f} MiB, and none has more than {LARGEST_JSON / 2**20:g}")
    return parse_json(path.read_text(encoding="utf-8"), finite=finite)


def parse_json(text: str, *, finite: bool = True) -> Any:
    """What a JSON text holds.

    Raises
    ------
    ValueError
        if it is no JSON, or deeper than ``DEEPEST_JSON`` lists and objects.
    """
    try:
        data = json.loads(text, parse_constant=_no_number, parse_float=_finite) if finite else json.loads(text)
    except RecursionError:
        data = None
        deep = True
    else:
        level = [data]
        for _ in range(DEEPEST_JSON):
            level = [
                child
                for value in level
                if isinstance(value, (dict, list))
                for child in (value.values() if isinstance(value, dict) else value)
            ]
        deep = any(isinstance(value, (dict, list)) for value in level)
    if deep:
        raise ValueError(f"it is nested more than {DEEPEST_JSON} deep")
    if _HALF.search(text):
        json.dumps(data, ensure_ascii=False).encode()  # a pair of halves is a character; one alone cannot be written
    return data


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


@contextmanager
def readable_disk_errors(folder: Path) -> Iterator[None]:
    """Turn what libraries raise when a disk is full into an ``OSError`` that says so."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # tokenizers raises no class of its own, but a bare Exception
        if any(sign in str(error) for sign in _DISK_SIGNS):
            reason = str(error).strip().splitlines()[0]
            raise OSError(f"{folder} cannot be written, the disk may be full: {reason}") from error
        raise


def recover_folder(folder: Path) -> None:
    """Put back what :func:`write_folder` had set aside when it was killed between two renames."""
    if not folder.exists():
        for old in _set_aside(folder):
            if old.name.endswith("-old"):
                old.replace(folder)
                return


def _set_aside(folder: Path) -> dict[Path, int | None]:
    """What :func:`write_folder` made beside a folder, not beside one whose name begins alike, and in which process."""
    ours = re.compile(rf"\.{re.escape(folder.name)}-(?:(\d+)-)?[a-z0-9_]{{8}}(-old)?")
    beside = ((path, ours.fullmatch(path.name)) for path in folder.parent.glob(f".{glob.escape(folder.name)}-*"))
    # Earlier versions did not write down the process.
    return {path: int(found[1]) if found[1] else None for path, found in beside if found}


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new folder aside and put it in place of ``folder``; a failure leaves the old one as it was.

    A symbolic link stays one: what it leads to is replaced.
    """
    folder = real_path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(folder)
    for leftover, process in _set_aside(folder).items():
        if process is None or not psutil.pid_exists(process):  # else it is being filled at this moment
            shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-{os.getpid()}-"))
    old = temporary.with_name(temporary.name + "-old")
    try:
        with readable_disk_errors(folder):
            fill(temporary)
        temporary.chmod(0o755)
        if folder.exists():
            folder.replace(old)
        try:
            temporary.replace(folder)
        except OSError:
            if not folder.exists():
                raise
            # A reader saw no folder for a moment, and put the old one back.
            folder.replace(old)
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
