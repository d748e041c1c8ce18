"""A prompt in a model's chat template, which comes with the model and may be anybody's.

transformers runs templates in Jinja's sandbox, which keeps them away from files and from Python, and bounds neither
their time nor their memory: a loop in a loop never ends, and ``'a' * 10 ** 10`` takes what there is.
"""

import multiprocessing
import signal
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection

import psutil
from transformers import PreTrainedTokenizerBase

from latadj.checkpoints.loading_errors import reason_of

SECONDS = 10  # a template takes milliseconds
MEMORY = 2**30  # bytes, besides what the process has already
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
    if "fork" not in multiprocessing.get_all_start_methods():  # Windows, which has no such limits either
        return _checked(_rendered(tokenizer, prompt, most))
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_send_rendered, args=(sending, tokenizer, prompt, most), daemon=True)
    with warnings.catch_warnings():
        # Python warns of forks beside threads, whose locks the child would wait for: it uses none of theirs, and if it
        # did, it would end like a template that takes too long.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    sending.close()
    try:
        answer = receiving.recv() if receiving.poll(SECONDS) else (None, f"it takes more than {SECONDS} seconds")
    except EOFError:
        answer = (None, "it takes too much memory")
    finally:
        child.kill()
        child.join()
        receiving.close()
    return _checked(answer)


def _checked(answer: tuple[str | None, str]) -> str:
    text, problem = answer
    if text is None:
        raise ValueError(f"chat=true: this model's chat template fails: {problem}; {INSTEAD}")
    return text


def _send_rendered(sending: Connection, tokenizer: PreTrainedTokenizerBase, prompt: str, most: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted parent ends it
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
    """Bound what this process may still take; a system that does not bound memory has the time limit alone."""
    import resource

    for limit, value in (
        (resource.RLIMIT_AS, psutil.Process().memory_info().vms + MEMORY),
        (resource.RLIMIT_CPU, int(SECONDS) + 1),  # if the parent is killed, nobody else ends it
    ):
        _, hard = resource.getrlimit(limit)
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
