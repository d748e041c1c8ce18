"""Hydra composes the same overrides once: a command asks for them three times, at 0.15 s of processor time each."""

import pickle
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

_compose = ConfigLoaderImpl.load_configuration
_composed: dict[tuple[object, ...], bytes] = {}


def _compose_once(loader: ConfigLoaderImpl, config_name: str, overrides: list[str], **how: Any) -> DictConfig:
    if any("searchpath" in override for override in overrides):
        return _compose(loader, config_name, overrides, **how)  # files of a test, which it may change
    sources = [str(element) for element in loader.config_search_path.get_path()]
    key = (config_name, *overrides, *sources, *sorted(how.items()), Path.cwd())
    if key not in _composed:
        _composed[key] = pickle.dumps(_compose(loader, config_name, overrides, **how))
    return pickle.loads(_composed[key])


def compose_once() -> None:
    """Let Hydra remember what it composed out of our own YAML files, for all tests of this process."""
    ConfigLoaderImpl.load_configuration = _compose_once
