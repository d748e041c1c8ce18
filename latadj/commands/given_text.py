"""The text that a command is given: as an argument among overrides, from standard input, or as a file."""

import io
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from latadj.config.keys import refuse_unknown_keys
from latadj.config.renamed import keys_of, refuse_old_keys

log = logging.getLogger("latadj")
# Of a file with one text. A context of 131,072 tokens, the longest there is, takes half a megabyte of prose.
MOST_BYTES = 2**26
STREAM = "-"
# KEY=VALUE, perhaps with Hydra's + or ~ before it: a key has no space, as nearly every text before its first = has.
_OVERRIDE = re.compile(r"[+~]{0,2}[^\W\d][\w.@/]*=", re.ASCII)


def texts_and_overrides(command: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that are texts, and those that are overrides, in any order.

    Raises
    ------
    ValueError
        if one reads as an override and no command has its key.
    """
    overrides = [argument for argument in arguments if _OVERRIDE.match(argument)]
    refuse_old_keys(keys_of(overrides))
    try:
        refuse_unknown_keys(command, keys_of(overrides))
    except ValueError as error:
        raise ValueError(f"{error}; a text that reads as KEY=VALUE goes behind --: latadj {command} -- TEXT") from error
    return [argument for argument in arguments if not _OVERRIDE.match(argument)], overrides


def only_text(
    texts: Sequence[str], literal: Sequence[str], file: Path | None, *, what: str, example: str, quotes: str
) -> str:
    """The one text: an argument, standard input where that is ``-``, or all of a file.

    Parameters
    ----------
    literal : arguments that are texts whatever they look like
    what, example : how the command calls it, and a call of the command
    quotes : what to do where there are two texts

    Raises
    ------
    ValueError
        if there is no text, there are several, or it is not text.
    """
    given = [*texts, *literal]
    if file is not None:
        if given:
            raise ValueError(f"--file {file} and the {what} {given[0]!r}: give one of them")
        return _text_of(file)
    if not given:
        raise ValueError(f"no {what}: give one, as in `latadj {example}`, - for standard input, or --file FILE")
    if len(given) > 1:
        raise ValueError(f"{given[1]!r} is a second {what}: {quotes}")
    if given == [STREAM] and not literal:
        return _standard_input(what)
    require_unicode(given[0], what)
    return given[0]


def require_unicode(text: str, what: str) -> None:
    """Refuse an argument that is no text: of bytes that are no UTF-8 Python makes halves of characters.

    Raises
    ------
    ValueError
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the {what} {text!r} is no UTF-8 text: write it in UTF-8, or give --file FILE") from error


def _standard_input(what: str) -> str:
    """All of standard input, without the line break that `echo` puts at its end."""
    if sys.stdin is None:
        raise ValueError(f"-: standard input is closed: give the {what} as an argument, or --file FILE")
    return _decoded(sys.stdin.buffer, "standard input").removesuffix("\n")


def _text_of(file: Path) -> str:
    """All of a file, or of a pipe, which is waited for."""
    if file.exists() and not file.is_file() and not file.is_dir():
        log.warning("--file %s is a pipe or a device: waiting for its end", file)
    with file.open("rb") as stream:
        return _decoded(stream, f"--file {file}")


def _decoded(stream: BinaryIO, name: str) -> str:
    data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{name}: more than {MOST_BYTES // 2**20} MiB, and no model reads as much: give a part of it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: this is no UTF-8 text ({error.reason} at byte {error.start})") from error
    return io.StringIO(text, newline=None).read()  # with one kind of line break, as every text file is read
