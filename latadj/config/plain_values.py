"""Overrides as people type them: what Hydra's grammar does not take, as in ``input=données.csv``, is put in quotes."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

_SAFE = re.compile(r"[A-Za-z0-9_./+-]*")  # as it is in Hydra's grammar; most overrides are
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
# An interpolation, which may hold another, belongs to the text around it.
_INTERPOLATION = re.compile(r"\$\{(?:[^{}]|\{[^{}]*\})*\}")
_BAD_KEY = (
    "{override}: Hydra takes no other letters than a to z in the key {key!r}: rename it, or write it into a YAML "
    "file of your own conf/"
)
_CLOSING = {"[": "]", "{": "}", "(": ")"}


def quoted(override: str) -> str:
    """An override that Hydra takes: as it is where its grammar does, else with its plain parts in quotes.

    Lists, dicts, interpolations, quoted strings, functions and sweeps ``a,b`` keep their meaning. What cannot be read
    even so comes back as it is, for Hydra to refuse.

    Raises
    ------
    ValueError
        if a key of a dict, or the option's own, has characters that Hydra's keys cannot have.
    """
    key, equals, value = override.partition("=")
    if equals and not key.isascii():
        raise ValueError(_BAD_KEY.format(override=override[:200], key=key))
    if not equals or _SAFE.fullmatch(value) or _parses(override):
        return override
    reading = f"{key}={','.join(map(_element, _split(value)))}"
    if not _parses(reading) and (bad := next((name for name in _keys(value) if not name.isascii()), None)):
        raise ValueError(_BAD_KEY.format(override=override[:200], key=bad))
    return reading if _parses(reading) else override


def in_quotes(text: str) -> str:
    """A text as a quoted string of Hydra's grammar, where a backslash counts before a quote and at the end alone."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


@cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _parses(override: str) -> bool:
    from hydra.errors import HydraException

    try:
        _parser().parse_override(override)
    except HydraException:
        return False
    except RecursionError as error:
        raise ValueError(f"{override[:60]} …: its value is nested too deeply") from error
    return True


def _element(text: str) -> str:
    """A list, a dict or a plain value, in which plain parts are in quotes."""
    bare = text.strip()
    if not bare:
        return text
    behind = _behind_bracket(bare) if bare[:1] in ("[", "{") else bare
    if behind is None:  # nobody can tell what was meant
        return text
    if behind:
        return _piece(text)
    parts = _split(bare[1:-1])
    if bare[0] == "[":
        return "[" + ",".join(map(_element, parts)) + "]"
    pairs = [part.partition(":") for part in parts]
    return "{" + ",".join(name + colon + (_element(value) if colon else "") for name, colon, value in pairs) + "}"


def _keys(text: str) -> Iterator[str]:
    """The keys of the dicts in a value."""
    for part in _split(text):
        bare = part.strip()
        if bare[:1] not in ("[", "{") or _behind_bracket(bare) != "":
            continue
        for inner in _split(bare[1:-1]):
            name, colon, value = inner.partition(":") if bare[0] == "{" else ("", "", inner)
            if colon:
                yield name.strip()
            yield from _keys(value)


def _piece(text: str) -> str:
    return text if not text.strip() or _parses(f"key={text}") else in_quotes(text.strip())


def _behind_bracket(text: str) -> str | None:
    """What stands behind the bracket that closes the first; None if none does."""
    depth = 0
    for place, sign in _signs(text):
        depth += (sign in _CLOSING) - (sign in _CLOSING.values())
        if depth == 0:
            return text[place + len(sign) :]
    return None


def _split(text: str) -> Iterator[str]:
    """Parts between commas that stand in no brackets, interpolations and quoted strings."""
    start, depth = 0, 0
    for place, sign in _signs(text):
        depth += (sign in _CLOSING) - (sign in _CLOSING.values())
        if sign == "," and depth <= 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _signs(text: str) -> Iterator[tuple[int, str]]:
    """Characters with their places; an interpolation, and a quoted string at the start of a part, is one."""
    place, fresh = 0, True
    while place < len(text):
        found = _INTERPOLATION.match(text, place) or (_QUOTED.match(text, place) if fresh else None)
        sign = found[0] if found else text[place]
        yield place, sign
        fresh = sign in "[{,:(" or (fresh and sign.isspace())
        place += len(sign)
