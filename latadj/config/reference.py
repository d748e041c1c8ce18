"""Every option of every command: key, type, default and one line about it, out of schemas and `conf/`."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, fields
from itertools import groupby
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from latadj.config import SCHEMAS
from latadj.config.compose import compose, conf_dir
from latadj.config.fields import Section, section_of, shown
from latadj.config.keys import GROUPS, NAME, in_words

COMMANDS: tuple[str, ...] = tuple(SCHEMAS)


@dataclass(frozen=True)
class Option:
    """One option of a command.

    key : as it is written in an override, such as ``plain.epochs``
    type : what people write, or the names to choose from
    default : as `conf/` has it, with interpolations as they are written there or, where they compute something, the
        value for the command's default model and task and the keys that it depends on
    help : one line
    """

    key: str
    type: str
    default: str
    help: str


def options(command: str) -> list[Option]:
    """The options of a command, those of a section together.

    Raises
    ------
    KeyError
        if there is no such command.
    """
    schema, composed = SCHEMAS[command], compose(command, [])
    return list(_options(schema, composed, OmegaConf.to_container(composed, resolve=False), ""))


def _options(schema: type[Section], composed: DictConfig, raw: Any, prefix: str) -> Iterator[Option]:
    """Options of a section; those that hold options of their own come last."""
    hints = get_type_hints(schema)
    inner = [declared for declared in fields(schema) if section_of(hints[declared.name])]
    for declared in [declared for declared in fields(schema) if declared not in inner]:
        key = prefix + declared.name
        default = _default(key, declared, composed, raw)
        yield Option(key, _type(key, declared, hints), default, declared.metadata["help"])
    for declared in inner:
        key, section = prefix + declared.name, section_of(hints[declared.name])
        assert section is not None
        if choices := _choices(key):
            chosen = composed.hydra.runtime.choices.get(key)
            yield Option(key, " | ".join(choices), _text(chosen), f"{declared.metadata['help']}: a YAML of conf/{key}")
        several = get_origin(hints[declared.name]) is dict
        below = raw.get(declared.name) if isinstance(raw, dict) else None
        yield from _options(section, composed, {} if several else below, f"{key}.{NAME}." if several else f"{key}.")


def _choices(key: str) -> list[str]:
    """The files of a group of `conf/`, which is chosen by name."""
    return sorted(file.stem for file in (conf_dir() / key).glob("*.yaml")) if key in GROUPS else []


def _type(key: str, declared: "Field[Any]", hints: dict[str, Any]) -> str:
    rule, written = declared.metadata.get("rule"), declared.metadata.get("type")
    nullable = NoneType in get_args(hints[declared.name])
    if choices := _choices(key):
        return " | ".join(choices)
    if written:
        return str(written)
    if rule is not None and rule.choices:
        names = " | ".join([*rule.choices, *(["null"] if nullable else [])])
        return f"list of {names}" if get_origin(hints[declared.name]) is list else names
    named = in_words(hints[declared.name])
    return named if rule is None else f"{named}: {rule.text}"


def _default(key: str, declared: "Field[Any]", composed: DictConfig, raw: Any) -> str:
    """The default as text; that of the schema where `conf/` has none."""
    if not isinstance(raw, dict) or declared.name not in raw:
        value = declared.default if declared.default_factory is NO_DEFAULT else declared.default_factory()
        return "" if value == "???" else _text(value)
    written = raw[declared.name]
    if not (isinstance(written, str) and "${" in written) or "package_file" in written:
        return _text(written)
    if not re.search(r"\$\{\w+:", written):
        return written
    sources = dict.fromkeys(re.findall(r"\$\{([\w.]+)\}", written))
    return f"{_text(OmegaConf.select(composed, key))} (by {', '.join(sources)})"


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_text(inner)}" for name, inner in value.items()) + "}"
    return shown(value)


def options_text(command: str, width: int = 80) -> str:
    """All options of a command for a terminal: a paragraph each, under the section that it belongs to."""
    schema, lines = SCHEMAS[command], []
    titles = {declared.name: declared.metadata["help"] for declared in fields(schema)}
    for name, members in groupby(options(command), key=lambda option: _section_name(option, schema)):
        lines += ["", f"{name}: {titles[name]}" if name else f"Options of latadj {command}, as KEY=VALUE:"]
        for option in members:
            about = f"{option.help} ({option.type})"
            for text, indent in ((f"{option.key}={option.default}", "  "), (about, "      ")):
                lines += textwrap.wrap(text, width, initial_indent=indent, subsequent_indent="      ")
    return "\n".join(lines) + "\n"


def _section_name(option: Option, schema: type[Section]) -> str:
    """The section of the command that an option belongs to; empty for the command's own."""
    name = option.key.partition(".")[0]
    return "" if section_of(get_type_hints(schema)[name]) is None else name
