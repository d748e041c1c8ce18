"""From a command of the command line to its work: what a launcher's processes may do, and errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer

from latadj.commands.table import COMMANDS
from latadj.utils.readable import message


def show(command: str, overrides: list[str]) -> None:
    """Print a composed config."""
    from omegaconf import OmegaConf

    from latadj.config.compose import compose

    composed = compose(command, overrides)
    OmegaConf.set_struct(composed, False)
    composed.pop("hydra", None)
    typer.echo(OmegaConf.to_yaml(composed), nl=False)


def launch(command: str, overrides: list[str], multirun: bool, cfg: bool, **options: Any) -> None:
    """Run a command, or print its config; ``options`` go to its ``prepare`` beside the config."""
    if cfg:
        show(command, overrides)
        return
    from latadj.commands.launch import check_early
    from latadj.commands.launch import launch as run_command
    from latadj.devices import address_space, affinity

    address_space.require()
    require_one_process(command, multirun)
    if multirun:
        from latadj.commands.multirun import run_all

        if code := run_all(command, overrides):
            raise typer.Exit(code)
        return
    early = check_early(command, overrides)
    options |= {} if early.found is None else {"checked": early.found}
    if early.config.device.cpus:  # before torch is imported: its threads go where the process may
        affinity.pin(early.config.device.cpus)
    work = COMMANDS[command].load()
    result = run_command(command, overrides, partial(work.prepare, **options), work.run, composed=early.composed)
    if result is not None and hasattr(work, "exit_code") and (code := work.exit_code(result)):
        raise typer.Exit(code)


def require_one_process(command: str, multirun: bool = False) -> None:
    """Refuse the several processes of a launcher where a command has no use for them; the first of them says it."""
    from latadj.devices import processes

    shared = command in COMMANDS and COMMANDS[command].shared
    if shared and processes.launched_alone():
        line = "this is one process: for several on CPUs take torchrun, or accelerate launch --multi_gpu"
        typer.echo(f"latadj {command}: {line}", err=True)
    problem = processes.problem(command, trains=shared, multirun=multirun)
    if problem is None:
        return
    if processes.rank():
        raise typer.Exit(2)
    raise ValueError(problem)


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """End the process with one line and an exit code where a user can help it: 2, or 130 after Ctrl-C."""
    from latadj.config.errors import USER_ERRORS, one_line
    from latadj.devices import peers

    def end(line: str, code: int) -> typer.Exit:
        peers.speak(lambda: typer.echo(f"latadj {command}: {line}", err=True), code)
        return typer.Exit(code)

    try:
        yield
    except USER_ERRORS as error:
        raise end(message(one_line(error)), 2) from None
    except MemoryError as error:
        what = f" ({message(one_line(error))})" if str(error) else ""
        raise end(f"there is not enough memory{what}: end other programs, or take less", 2) from None
    except KeyboardInterrupt:
        line = "interrupted; finetune, prune and predict go on with resume=true, glue by itself"
        raise end(line, 130) from None
    except typer.Exit:
        raise
    except Exception:
        peers.let_others_speak()
        raise
