"""Commands that run inside another one, each in a run folder of its own as if a user had called it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from latadj.commands.launch import launch
from latadj.commands.table import COMMANDS
from latadj.config import RunConfig
from latadj.config.compose import compose, typed


class Stages:
    """What a command needs of those that it runs."""

    def config(self, command: str, overrides: list[str]) -> RunConfig:
        """The typed config that overrides compose to."""
        return typed(command, compose(command, overrides))

    def run(self, command: str, overrides: list[str]) -> Any:
        """Run a command and return what its ``run`` returned."""
        work = COMMANDS[command].load()
        with _own_log():
            return launch(command, overrides, work.prepare, work.run)


@contextmanager
def _own_log() -> Iterator[None]:
    """Hydra points the log at the folder of the command that it runs; afterwards it goes where it went before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
