"""One writer at a time: locks between processes, which the system releases when their holder ends or is killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def only_writer(lock: Path, option: str) -> Iterator[None]:
    """Refuse to run beside another process that holds the same lock.

    Parameters
    ----------
    lock : the lock's file; it is made, and stays
    option : ``KEY=VALUE`` that names what is locked

    Raises
    ------
    ValueError
        if another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    holder = FileLock(lock)
    try:
        holder.acquire(blocking=False)
    except Timeout as error:
        raise ValueError(f"{option}: another run is writing here; wait for its end, or name another place") from error
    try:
        yield
    finally:
        holder.release()
