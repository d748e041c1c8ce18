"""How a field of a config is declared: its default, one line of help, what a value may be, and how it is read."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from latadj.utils.suggestions import did_you_mean


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    text : what is expected, for people
    holds : whether a value is that
    choices : all that it may be, where those are names
    """

    text: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()


def one_of(*choices: str) -> Rule:
    """One of some names."""
    return Rule(f"one of {', '.join(choices)}", choices.__contains__, choices)


def at_least(least: float) -> Rule:
    """A number that is not below ``least``."""
    return Rule(f"at least {least}", lambda value: value >= least)


POSITIVE = Rule("a number above 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0)
NONE_OR_MORE = Rule("0 (none) or more", lambda value: value >= 0)
FRACTION = Rule("a number above 0 and below 1", lambda value: 0 < value < 1)
SHARE = Rule("a share from 0 to 1, or null", lambda value: 0 <= value <= 1)


def option(
    default: Any,
    help: str,
    rule: Rule | None = None,
    *,
    parse: Callable[[Any], Any] | None = None,
    type: str | None = None,
) -> Any:
    """A field of a config.

    Parameters
    ----------
    help : one line about it, for `--help` and the reference
    rule : what a value other than None may be
    parse : turns what people write in short into what the field holds; raises ``ValueError("FIELD=VALUE: ...")``
    type : what people write, where the annotation does not say it
    """
    metadata = {"help": help, "rule": rule, "parse": parse, "type": type}
    if isinstance(default, (list, dict)):
        return field(default_factory=partial(deepcopy, default), metadata=metadata)
    return field(default=default, metadata=metadata)


def section(schema: Any, help: str) -> Any:
    """A field that holds options of its own, with one line of help."""
    return field(default_factory=schema, metadata={"help": help})


def as_list(value: Any) -> Any:
    """One of a list alone, as the list."""
    return value if value is None or isinstance(value, (list, tuple)) else [value]


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(str, value)) + "]"
    return str(value)


@dataclass
class Section:
    """Options that belong together."""

    def problems(self) -> list[str]:
        """What no command can work with, here and in the sections below: ``KEY=VALUE: what is expected``."""
        problems = []
        for declared in fields(self):
            value, rule = getattr(self, declared.name), declared.metadata.get("rule")
            if not _every(value, _is_finite):
                problems.append(f"{declared.name}={shown(value)}: expected a finite number")
            elif not _every(value, _has_64_bits):
                problems.append(f"{declared.name}={shown(value)}: expected a number of at most 64 bits")
            elif rule is not None and value is not None and not rule.holds(value):
                meant = did_you_mean(str(value), rule.choices)
                problems.append(f"{declared.name}={value}: expected {rule.text}{meant}")
            for key, inner in _sections(declared.name, value):
                problems += [f"{key}.{problem}" for problem in inner.problems()]
        return problems

    def nested(self) -> list[str]:
        """Lists within lists of plain values, here and below, which OmegaConf lets pass, one line each."""
        problems, hints = [], get_type_hints(type(self))
        for declared in fields(self):
            value, plain = getattr(self, declared.name), {str, int, float, bool}
            kinds = [*get_args(hints[declared.name]), hints[declared.name]]
            listed = any(get_origin(kind) is list and set(get_args(kind)) <= plain for kind in kinds)
            if listed and any(isinstance(entry, (list, dict)) for entry in value or ()):
                problems.append(f"{declared.name}={shown(value)}: expected a list of plain values")
            for key, inner in _sections(declared.name, value):
                problems += [f"{key}.{problem}" for problem in inner.nested()]
        return problems


def _every(value: Any, holds: Callable[[Any], bool]) -> bool:
    """Whether something holds of a value, and of all values in it; sections look after their own."""
    if isinstance(value, dict):
        return all(_every(inner, holds) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(_every(inner, holds) for inner in value)
    return holds(value)


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _has_64_bits(value: Any) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _sections(key: str, value: Any) -> Iterator[tuple[str, Section]]:
    if isinstance(value, Section):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _sections(f"{key}.{name}", inner)


def section_of(hint: Any) -> type[Section] | None:
    """The section that a field's annotation names: ``S``, ``S | None`` or ``dict[str, S]``."""
    if isinstance(hint, type) and issubclass(hint, Section):
        return hint
    return next(filter(None, map(section_of, get_args(hint))), None)


def read_shorthand(schema: type[Section], values: DictConfig) -> list[str]:
    """Replace, in place, what people write in short by what the fields of ``schema`` hold.

    Returns
    -------
    what cannot be read, one line each; such a field is taken out
    """
    problems = []
    hints = get_type_hints(schema)
    for declared in fields(schema):
        name, parse = declared.name, declared.metadata.get("parse")
        if name not in values:
            continue
        if parse is not None:
            value = values[name]
            try:
                values[name] = parse(
                    OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
                )
            except ValueError as error:
                problems.append(str(error))
                del values[name]
                continue
        inner = section_of(hints[name])
        if inner is None:
            continue
        below = values[name]
        several = get_origin(hints[name]) is dict
        for key, part in below.items() if several and OmegaConf.is_dict(below) else [(None, below)]:
            if OmegaConf.is_dict(part):
                place = f"{name}.{key}" if several else name
                problems += [f"{place}.{problem}" for problem in read_shorthand(inner, part)]
    return problems
