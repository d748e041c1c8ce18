"""The keys that each command takes, out of the schemas, and what a misspelt key or name was meant to be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from latadj.config import SCHEMAS
from latadj.config.commands.glue import OPEN, STAGES
from latadj.config.fields import Rule, Section, section_of
from latadj.utils.suggestions import likeness, likest, listed

# Folders of `conf/`, from which an option takes one YAML by name.
GROUPS = ("model", "device", "task", "prompt", "experiment")
# A part of a key that the user chooses, as in compare.models.NAME.checkpoint.
NAME = "NAME"
# How much a key is like what it abbreviates to or begins with, and what likeness counts in another section.
SHORT, ELSEWHERE = 0.95, 0.8


@dataclass(frozen=True)
class Key:
    """One key of a command.

    name : as it is written in an override, such as ``plain.epochs``
    type : what people write
    choices : names that it takes, if only these
    section : whether options follow below it
    open : whether keys that no schema knows may follow below it
    """

    name: str
    type: str = ""
    choices: tuple[str, ...] = ()
    section: bool = False
    open: bool = False


@cache
def keys_of_command(command: str) -> dict[str, Key]:
    """The keys of a command by name, sections too.

    Raises
    ------
    KeyError
        if there is no such command.
    """
    keys = {key.name: key for key in _keys(SCHEMAS[command], "")}
    if command == "glue":  # what it hands on is as its stages have it
        for stage in STAGES:
            for name, key in keys_of_command(stage).items():
                section = name.partition(".")[0]
                if section in OPEN and section != name:
                    keys |= {name: key, section: replace(keys[section], section=True, open=False)}
    return keys


def _keys(schema: type[Section], prefix: str) -> Iterator[Key]:
    hints = get_type_hints(schema)
    for declared in fields(schema):
        name, hint = prefix + declared.name, hints[declared.name]
        inner, rule = section_of(hint), declared.metadata.get("rule")
        if inner is None:
            written = declared.metadata.get("type") or in_words(hint)
            yield Key(name, written, _choices(hint, rule), open=_holds_keys(hint))
            continue
        several = [name, f"{name}.{NAME}"] if get_origin(hint) is dict else [name]
        yield from (Key(section, section=True) for section in several)
        yield from _keys(inner, f"{several[-1]}.")


def _choices(hint: Any, rule: Rule | None) -> tuple[str, ...]:
    """The names that a value may be; none of a list, which holds several."""
    kinds = (hint, *get_args(hint))
    if get_origin(hint) is list:
        return ()
    names = rule.choices if rule is not None else ("true", "false") if bool in kinds else ()
    return (*names, *(["null"] if names and NoneType in kinds else []))


def in_words(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join("null" if part is NoneType else in_words(part) for part in get_args(hint))
    if get_origin(hint) is list:
        return f"list of {in_words(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "{NAME:VALUE}"
    return {str: "text", float: "number", int: "integer", bool: "true | false"}.get(hint, "any")


def _holds_keys(hint: Any) -> bool:
    """Whether a value may be a dictionary or a list, whose entries have keys of their own."""
    return any(kind is Any or get_origin(kind) in (dict, list) for kind in (hint, *get_args(hint)))


def known(command: str, key: str) -> bool:
    """Whether a command has a key; an entry of a dictionary or a list counts as one."""
    keys = keys_of_command(command)
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        found = next((keys[name] for name in keys if _fits(parts[:end], name.split("."))), None)
        if found is not None:
            return end == len(parts) or found.open
    return False


def _fits(parts: list[str], pattern: list[str]) -> bool:
    return len(parts) == len(pattern) and all(one in (part, NAME) for part, one in zip(parts, pattern, strict=True))


def refuse_unknown_keys(command: str, keys: Iterable[str]) -> None:
    """Refuse keys that no command has; an experiment may set those of other commands.

    Parameters
    ----------
    keys : of overrides, without ``+``, ``++`` and ``~``; Hydra's own pass

    Raises
    ------
    ValueError
        naming the nearest keys of the command.
    """
    for key in keys:
        own = key.split(".")[0] == "hydra" or "/" in key or "@" in key or not key
        if not own and not any(known(other, key) for other in SCHEMAS):
            raise ValueError(unknown(command, key))


def unknown(command: str, key: str) -> str:
    """What to say of a key that a command does not have."""
    others = [f"`latadj {other}`" for other in SCHEMAS if known(other, key)]
    meant = likest({name: _likeness(key, name) for name in keys_of_command(command)})
    where = f"an option of {listed(others, 'and')}, not of {command}" if others else f"{command} has no such option"
    way_on = f"did you mean {listed(f'{name}=' for name in meant)}? " if meant else ""
    return f"{key}=: {where}; {way_on}`latadj {command} --help` lists all"


def _likeness(written: str, name: str) -> float:
    """From 0 to 1: as a whole, or by the last part, which counts for less in another section."""
    section, _, last = written.rpartition(".")
    other_section, _, other_last = name.rpartition(".")
    initials = "".join(word[:1] for word in other_last.split("_"))
    short = initials == last if len(last) == 2 else len(last) > 2 and other_last.startswith(last)
    by_last = max(likeness(last, other_last), SHORT * short)
    return max(likeness(written, name), by_last if section == other_section else ELSEWHERE * by_last)
