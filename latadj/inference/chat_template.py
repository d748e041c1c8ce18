"""A prompt in a model's chat template, which comes with the model and may be anybody's.

transformers runs templates in Jinja's sandbox, which keeps them away from files and from Python, and bounds neither
their time nor their memory: a loop in a loop never ends, and ``'a' * 10 ** 10`` takes what there is.
"""

import multiprocessing
import signal
import time
import warnings
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any

import psutil
from transformers import PreTrainedTokenizerBase

from latadj.checkpoints.loading_errors import reason_of

SECONDS = 10  # a template takes milliseconds
START_SECONDS = 120  # of a process that is spawned, on a machine that is busy
LOOK = 0.05  # seconds from one look at the memory to the next
MEMORY = 2**30  # bytes, besides what the process has already
# Windows has none.
resource: Any = import_module("resource") if find_spec("resource") else None
INSTEAD = "take chat=false, which gives the model the prompt as it is"


def chat_text(tokenizer: PreTrainedTokenizerBase, prompt: str, most: int) -> str:
    """A prompt in the tokenizer's chat template, rendered in bounded time and memory.

    Parameters
    ----------
    most : characters of the text

    Raises
    ------
    ValueError
        if the template refuses the prompt, cannot be read, takes too long or too much memory, or makes too long a text.
    """
    # Windows has no fork; a process that is spawned instead imports transformers first, which takes seconds.
    context: Any = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_send_rendered, args=(sending, tokenizer, prompt, most), daemon=True)
    with warnings.catch_warnings():
        # Python warns of forks beside threads, whose locks the child would wait for: it uses none of theirs, and if it
        # did, it would end like a template that takes too long.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    sending.close()
    try:
        answer = _answer_of(receiving, psutil.Process(child.pid))
    except (EOFError, OSError, psutil.NoSuchProcess):  # it has ended without one
        answer = (None, "it takes too much memory")
    finally:
        child.kill()
        child.join()
        receiving.close()
    return _checked(answer)


def _answer_of(receiving: Connection, child: psutil.Process) -> tuple[str | None, str]:
    """What the process sends behind a sign that it begins; else which bound it passed."""
    if not receiving.poll(START_SECONDS):
        return None, f"a process for it does not start within {START_SECONDS} seconds"
    receiving.recv()
    before, end = child.memory_info().rss, time.monotonic() + SECONDS
    while (left := end - time.monotonic()) > 0:
        if receiving.poll(min(left, LOOK)):
            answer: tuple[str | None, str] = receiving.recv()
            return answer
        # Where the system bounds nothing itself.
        if child.memory_info().rss > before + MEMORY:
            return None, "it takes too much memory"
    return None, f"it takes more than {SECONDS} seconds"


def _checked(answer: tuple[str | None, str]) -> str:
    text, problem = answer
    if text is None:
        raise ValueError(f"chat=true: this model's chat template fails: {problem}; {INSTEAD}")
    return text


def _send_rendered(sending: Connection, tokenizer: PreTrainedTokenizerBase, prompt: str, most: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted parent ends it
    sending.send(None)
    _bound_process()
    sending.send(_rendered(tokenizer, prompt, most))


def _rendered(tokenizer: PreTrainedTokenizerBase, prompt: str, most: int) -> tuple[str | None, str]:
    """The text, or None and what is wrong."""
    messages = [{"role": "user", "content": prompt}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except MemoryError:
        return None, "it takes too much memory"
    except Exception as error:  # the template decides what is raised
        return None, reason_of(error)
    if len(text) > most:
        return None, f"it makes a text of {len(text):,} characters, more than the {most:,} that can fit the model"
    return text, ""


def _bound_process() -> None:
    """Bound what this process may still take; where the system bounds nothing, the parent alone does."""
    if resource is None:
        return
    for limit, value in (
        (resource.RLIMIT_AS, psutil.Process().memory_info().vms + MEMORY),
        (resource.RLIMIT_CPU, int(SECONDS) + 1),  # if the parent is killed, nobody else ends it
    ):
        _, hard = resource.getrlimit(limit)
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
