"""The one edge where what transformers and its libraries raise over a model's files becomes one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MEND = "copy the folder anew, or name another model"
# What is in a message -> what to do about it; the first that fits counts.
_KNOWN = {
    "trust_remote_code": "brings code of its own, which is not run: take a model of an architecture that transformers "
    "knows, or, if you trust the code, fine-tune with model.trust_remote_code=true",
    "quantiz": "has quantized weights, and they cannot be read here ({reason}): name a folder of the same model with "
    "fp32, fp16 or bf16 weights; device.precision=int8 quantizes it as it is served",
    "attn_implementation": "asks for an attention that is not there ({reason}): remove attn_implementation from its "
    "config.json",
    "FlashAttention": "asks for an attention that is not installed ({reason}): remove attn_implementation from its "
    "config.json",
}


@contextmanager
def readable_loading(path: str, part: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a ``ValueError`` of one line.

    Parameters
    ----------
    path : of the model, for the message
    part : what is loaded: ``config.json``, ``weights`` or ``tokenizer``

    Raises
    ------
    ValueError
        naming the path, the cause and what to do.
    """
    try:
        yield
    # A folder's files decide what is raised: a TypeError for a list where an object is expected, an AssertionError for
    # a number out of range, an ImportError for a format whose package is missing, a bare Exception by tokenizers.
    except Exception as error:
        raise ValueError(f"the model in {path} {_what_to_do(error, part)}") from error


@contextmanager
def readable_shape(shape: Any) -> Iterator[None]:
    """Turn whatever transformers raises over the options of a model's config into a ``ValueError`` of one line.

    Raises
    ------
    ValueError
    """
    try:
        yield
    except Exception as error:  # as above, the options decide what is raised
        raise ValueError(
            f"model.shape={shape}: transformers makes no model of it ({reason_of(error)}): expected a model_type and "
            "options of its config"
        ) from error


def reason_of(error: BaseException) -> str:
    """What an error says, in one line; with its type where that is a word alone, as ``KeyError: 'foo'``."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return text if " " in text else f"{type(error).__name__}: {text}".removesuffix(": ")


def _what_to_do(error: Exception, part: str) -> str:
    reason = reason_of(error)
    if isinstance(error, MemoryError):
        return (
            f"cannot be loaded, there is not enough memory for its {part}: take a smaller model, or end other programs"
        )
    for sign, advice in _KNOWN.items():
        if sign.lower() in str(error).lower():
            return advice.format(reason=reason)
    if type(error) is Exception and part == "tokenizer":  # tokenizers has no class of its own for a file's format
        return (
            f"cannot be loaded, its tokenizer.json is damaged or was cut short, or is of a newer format than the "
            f"installed tokenizers package reads ({reason}): run `pip install --upgrade transformers tokenizers`, or "
            f"{MEND}"
        )
    if isinstance(error, ImportError):
        return f"cannot be loaded, its {part} needs a package that is missing: {reason}"
    return f"cannot be loaded, its {part} may be cut short or damaged: {reason}; {MEND}"
