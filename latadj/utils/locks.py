"""One writer at a time: locks between processes, which the system releases when their holder ends or is killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def only_writer(path: Path, option: str, *, remove: bool = False) -> Iterator[None]:
    """Refuse to run beside another process that holds the same lock.

    Parameters
    ----------
    path : the lock's file, which is made
    option : ``KEY=VALUE`` that names what is locked
    remove : whether the file goes at the end

    Raises
    ------
    ValueError
        if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ValueError(f"{option}: another run is writing here; wait for its end, or name another place") from error
    try:
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)  # before its release, or it would be that of the next run
        lock.release()
