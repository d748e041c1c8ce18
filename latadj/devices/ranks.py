"""What the processes of one training tell each other; all of them call these functions in the same order.

A process that was started alone gets its own value back at once.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import distributed

from latadj.config import DeviceConfig
from latadj.devices import peers, processes

T = TypeVar("T")


def size() -> int:
    """How many processes have joined."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """The number of this one."""
    return distributed.get_rank() if size() > 1 else 0


def gathered(value: T) -> list[T]:
    """The values of all processes, by rank."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    distributed.all_gather_object(values, value)
    return values


def agreed(value: T) -> T:
    """The first process's value, which all take for theirs."""
    if size() == 1:
        return value
    values = [value if rank() == 0 else None]
    distributed.broadcast_object_list(values, src=0)
    return values[0]  # type: ignore[return-value]  # the first one's is a value


def on_first(work: Callable[[], T]) -> T:
    """What ``work`` gives the first process, which alone does it while the others wait."""
    return agreed(work() if rank() == 0 else None)  # type: ignore[return-value]  # the others get the first one's


def own_share(count: int) -> range:
    """Places of those of ``count`` rows that are this process's to work on; all of them where they are too few."""
    return range(rank(), count, size()) if count >= size() else range(count)


def in_order(shares: list[list[T]], count: int) -> list[T]:
    """What all processes found for their shares of ``count`` rows, in the order of the rows."""
    if count < len(shares):
        return shares[0]
    return [shares[place % len(shares)][place // len(shares)] for place in range(count)]


def join() -> None:
    """Meet the other processes that the launcher started.

    Raises
    ------
    ValueError
        if they do not find each other.
    """
    cuda = torch.cuda.is_available()
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        peers.watch(processes.rank(), processes.size(), agreed)
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"WORLD_SIZE={processes.size()}: process {processes.rank()} does not find the others ({reason}); start "
            "them with torchrun or accelerate launch"
        ) from error


def take_device(config: DeviceConfig) -> None:
    """Make one of this machine's GPUs that of this process.

    Raises
    ------
    ValueError
        if there are fewer than processes, or the device is one that they would share.
    """
    count, available = processes.local_size(), torch.cuda.device_count()
    if config.cpus is not None:
        raise ValueError(f"device.cpus={config.cpus}: {count} processes would share these CPUs; leave it null")
    if config.name == "cpu" or (config.name == "auto" and not available):
        if config.name == "auto" and torch.backends.mps.is_available():
            raise ValueError(f"device=auto: {count} processes cannot share this GPU; take device=cpu, or one process")
        return
    if config.name not in ("auto", "cuda"):
        raise ValueError(
            f"device={config.name}: {count} processes need a device each; take device=cuda, device=cpu or one process"
        )
    if available < count:
        raise ValueError(
            f"device={config.name}: {count} processes need a GPU each, and there are {available}; start "
            f"{max(available, 1)}, or take device=cpu"
        )
    torch.cuda.set_device(processes.local_rank())


def agree_on(work: Callable[[], T], errors: tuple[type[Exception], ...]) -> T:
    """Do the same work in all processes, or in none: where one fails, all end.

    Parameters
    ----------
    work : which has nothing to tell the others
    errors : that are a user's mistake. The first process that meets one raises it, the others end without a word.
    """
    failed, value = None, None
    try:
        value = work()
    except errors as error:
        failed = error
    _end_together(failed)
    return value  # type: ignore[return-value]  # nothing failed


def require_same(settings: dict[str, Any]) -> None:
    """Refuse processes that were started with other options than the first, in all of them.

    Raises
    ------
    ValueError
    """
    failed, first = None, dict(_flat(agreed(settings)))
    for number, other in enumerate(gathered(settings)):
        names = [name for name, value in _flat(other) if first.get(name) != value]
        if names and failed is None:
            name, theirs = names[0], dict(_flat(other))[names[0]]
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            failed = ValueError(
                f"{name}={first.get(name)} in process 0, {theirs} in process {number}{more}: the processes of a "
                "training need the same options; start all with the same command"
            )
    _end_together(failed)


def _end_together(failed: Exception | None) -> None:
    """Raise in the first of the processes that failed, and end all others."""
    broken = [number for number, one in enumerate(gathered(failed is not None)) if one]
    if not broken:
        return
    if rank() == broken[0] and failed is not None:
        raise failed
    peers.let_others_speak(10 * peers.FIRST_SPEAKS)
    raise SystemExit(2)


def finish() -> None:
    """Wait until all are done, and part."""
    if size() == 1:
        return
    gathered(None)
    peers.leave()
    gathered(None)
    distributed.destroy_process_group()


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
