"""What a shell may put in place of a half-written override: keys of the command, and values of a key."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from latadj.config.compose import conf_dir
from latadj.config.keys import GROUPS, NAME, Key, keys_of_command


def completions(command: str, before: Sequence[str], incomplete: str, *, hints: bool = False) -> list[str]:
    """What the word to complete may become, in order.

    Bash takes ``=`` for a word of its own: of ``task=ss`` the words ``task`` and ``=`` come before, of ``task=`` the
    word ``task``, and it replaces what follows only. Other shells complete the whole of ``task=ss``.

    Parameters
    ----------
    before : the words before it, without the command
    hints : after a key that is the only one, name what it takes. Bash puts no space behind what has two completions.
    """
    keys = keys_of_command(command)
    key, equals, part = incomplete.partition("=")
    if equals:
        return [f"{key}={value}" for value in _values(keys, key, part)]
    named = before[-2] if len(before) > 1 and before[-1] == "=" else before[-1] if before else ""
    if named in keys:
        return _values(keys, named, part or key)
    return _keys(keys, key, hints)


def _values(keys: dict[str, Key], key: str, part: str) -> list[str]:
    """The values of a key that begin as the word does; none where it takes any."""
    found = keys.get(key)
    choices: Iterable[str] = () if found is None else found.choices
    if key in GROUPS and found is not None:
        folders = dict.fromkeys([conf_dir() / key, Path.cwd() / "conf" / key])
        choices = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    return [value for value in choices if value.startswith(part)]


def _keys(keys: dict[str, Key], part: str, hints: bool) -> list[str]:
    """The keys that begin as the word does, to the end of the next section; where that is the only one, those in it."""
    names = [form for key in keys.values() for form in _forms(key) if form.startswith(part) and form != part]
    depth = part.count(".")
    while True:
        level = list(dict.fromkeys(_to_section(name, depth) for name in names))
        deeper = [name for name in names if name not in level]
        if len(level) != 1 or not deeper:
            break
        names, depth = deeper, depth + 1
    if hints and len(level) == 1 and level[0].endswith("="):
        key = keys[level[0].removesuffix("=")]
        level += [f"{level[0]}{value}" for value in _values(keys, key.name, "") or [f"<{key.type}>"]]
    return level


def _forms(key: Key) -> list[str]:
    """How a key goes on: with a value, or with an option below it; a name of the user's own is not known."""
    if NAME in key.name:
        return []
    chosen = key.name in GROUPS or not key.section
    return [*([f"{key.name}="] if chosen else []), *([f"{key.name}."] if key.section else [])]


def _to_section(name: str, depth: int) -> str:
    """A key to the end of its section of that depth."""
    parts = name.split(".")
    return ".".join(parts[: depth + 1]) + "." * (len(parts) > depth + 1)
