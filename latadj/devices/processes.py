"""Which of several processes of one training this is, as torchrun and `accelerate launch` say it; without torch."""

import os

# How `accelerate launch` says that it was told to cut the model itself into pieces.
_SHARDED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def size() -> int:
    """How many processes were started together; 1 without a launcher.

    Raises
    ------
    ValueError
        if the environment says what is no number.
    """
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """The number of this process among them; 0 is the one that writes and speaks."""
    return _number("RANK", 0) if size() > 1 else 0


def local_rank() -> int:
    """The number of this process among those of this machine."""
    return _number("LOCAL_RANK", 0)


def local_size() -> int:
    """How many of the processes are on this machine."""
    return _number("LOCAL_WORLD_SIZE", size())


def problem(command: str, *, trains: bool, multirun: bool) -> str | None:
    """Why several processes cannot run a command together; None: they can, or there is only one.

    Parameters
    ----------
    trains : whether the command knows how to share its work
    multirun : whether it is to run several times
    """
    if size() == 1:
        return None
    started = f"WORLD_SIZE={size()}"
    if not trains:
        return f"{started}: latadj {command} runs in one process, only finetune in several; start it without a launcher"
    if multirun:
        return f"{started}: with --multirun each run has one process; start it without a launcher, or run by run"
    for name, what in _SHARDED.items():
        if os.environ.get(name, "").lower() == "true":
            return f"{started}: {what} cuts models into pieces, and every process needs a whole one; turn {what} off"
    return None


def launched_alone() -> bool:
    """Whether `accelerate launch` was told to start several processes and started one, as it does for CPUs."""
    return "RANK" not in os.environ and {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= os.environ.keys()


def check_share(batch_size: int, option: str) -> None:
    """Refuse a batch that the processes cannot share evenly.

    Raises
    ------
    ValueError
    """
    if batch_size % (count := size()):
        raise ValueError(f"{option}={batch_size}: {count} processes share each batch; expected a multiple of {count}")


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or (name.endswith("SIZE") and int(text) < 1):
        raise ValueError(f"{name}={text}: expected a number, which torchrun sets; unset it, or start with torchrun")
    return int(text)
