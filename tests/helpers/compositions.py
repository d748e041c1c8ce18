"""Hydra reads a YAML file once and composes the same overrides once, where every command would do it three times.

That is most of what a command on a toy costs. Nothing is remembered of files that a test writes.
"""

import pickle
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository

from latadj.config.compose import conf_dir

Value = TypeVar("Value")


def _once(function: Callable[..., Value], key: Callable[..., tuple[object, ...] | None]) -> Callable[..., Value]:
    """The function, which gives a copy of what it gave before for the same key, unless that is None."""
    before: dict[tuple[object, ...], bytes] = {}

    @wraps(function)
    def wrapped(*given: Any, **options: Any) -> Value:
        place = key(*given, **options)
        if place is None:
            return function(*given, **options)
        if place not in before:
            before[place] = pickle.dumps(function(*given, **options))
        return pickle.loads(before[place])

    return wrapped


def _composition(loader: Any, config_name: str, overrides: list[str], **options: Any) -> tuple[object, ...] | None:
    if any("searchpath" in override for override in overrides):
        return None
    sources = [str(element) for element in loader.config_search_path.get_path()]
    return (config_name, *overrides, *sources, *sorted(options.items()), Path.cwd())


def _file(repository: Any, config_path: str) -> tuple[object, ...] | None:
    sources = [(source.scheme(), source.path) for source in repository.get_sources()]
    written = [path for scheme, path in sources if scheme == "file" and Path(path).resolve() != conf_dir().resolve()]
    return None if written else (config_path, *sources)


def compose_once() -> None:
    """Let Hydra remember for as long as this process lives."""
    ConfigLoaderImpl.load_configuration = _once(ConfigLoaderImpl.load_configuration, _composition)
    ConfigRepository.load_config = _once(ConfigRepository.load_config, _file)
