"""Text of users and files, made fit for a terminal: nothing in it steers the terminal, and no line is endless."""

import logging
import re

MOST_CHARACTERS = 2000  # of a message
# Control characters, line and paragraph separators, marks that turn the direction of writing, and halves of characters.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""Text in which what would steer a terminal is written out, such as ``\x1b``.

    Parameters
    ----------
    keep : characters that stay, such as line breaks
    """
    return _STEERING.sub(lambda found: found[0] if found[0] in keep else _written_out(found[0]), text)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def message(text: str, most: int = MOST_CHARACTERS) -> str:
    """A message in printable text, cut in its middle where it quotes too much: its end says what to do."""
    text = printable(text)
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end]} … ({len(text) - most:,} characters left out) … {text[-end:]}"


class ReadableRecords(logging.Filter):
    """Makes log records readable, whatever labels, headers and paths they quote."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        record.msg, record.args = message(record.getMessage()), None
        return True


READABLE_RECORDS = ReadableRecords()
