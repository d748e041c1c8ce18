"""The command line: Typer declares the commands, Hydra composes what they get."""

from collections.abc import Iterator
from importlib import import_module
from typing import Annotated

import typer

app = typer.Typer(
    name="latadj",
    no_args_is_help=True,
    add_completion=True,
    help=(
        "A latency dial for fine-tuned transformers: fine-tune once, eliminate the word-vectors that contribute "
        "least, turn one saved model to any speedup from 1x to 5x."
    ),
    epilog="KEY=VALUE are Hydra overrides: latadj finetune model=minilm task=rotten_tomatoes device=auto seed=1",
    pretty_exceptions_enable=False,
)


def _complete(incomplete: str) -> Iterator[str]:
    """Completions of ``model=<tab>``, ``task=<tab>``, ``device=<tab>``."""
    from latadj.launch import conf_dir

    group, equals, part = incomplete.partition("=")
    for folder in sorted(path for path in conf_dir().iterdir() if path.is_dir()):
        if equals and folder.name == group:
            yield from (f"{group}={file.stem}" for file in sorted(folder.glob(f"{part}*.yaml")))
        elif not equals and folder.name.startswith(group):
            yield f"{folder.name}="


Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Hydra overrides.", autocompletion=_complete, show_default=False),
]
Multirun = Annotated[
    bool, typer.Option("--multirun", "-m", help="Run all combinations of comma-separated values, as Hydra does.")
]
Cfg = Annotated[bool, typer.Option("--cfg", help="Print the composed config and stop.")]


@app.command()
def finetune(overrides: Overrides = None, multirun: Multirun = False, cfg: Cfg = False) -> None:
    """Fine-tune a model: plain first, then adjustable along the dial."""
    _run("finetune", "finetune", overrides, multirun, cfg)


@app.command()
def calibrate(overrides: Overrides = None, multirun: Multirun = False, cfg: Cfg = False) -> None:
    """Measure ACC on training text and make the dial of a fine-tuned model."""
    _run("calibrate", "calibrate", overrides, multirun, cfg)


@app.command()
def sweep(overrides: Overrides = None, multirun: Multirun = False, cfg: Cfg = False) -> None:
    """Metric and measured speedup along the dial: latadj sweep speedup=1..5."""
    _run("sweep", "sweep", overrides, multirun, cfg)


@app.command(name="eval")
def evaluate(overrides: Overrides = None, multirun: Multirun = False, cfg: Cfg = False) -> None:
    """Metric, latency percentiles and predictions at one speedup: latadj eval speedup=3."""
    _run("eval", "evaluate", overrides, multirun, cfg)


@app.command()
def bench(overrides: Overrides = None, multirun: Multirun = False, cfg: Cfg = False) -> None:
    """The dial against other runtimes, over batch sizes and lengths, with random weights."""
    _run("bench", "bench", overrides, multirun, cfg)


def _run(command: str, module: str, overrides: list[str] | None, multirun: bool, cfg: bool) -> None:
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from latadj import launch
    from latadj.measure import affinity

    try:
        if cfg:
            composed = launch.compose(command, overrides or [])
            OmegaConf.set_struct(composed, False)
            composed.pop("hydra", None)
            typer.echo(OmegaConf.to_yaml(composed), nl=False)
            return
        if not multirun:
            device = launch.check_early(command, overrides or []).device
            if device.cpus:  # before torch is imported: its threads go where the process may
                affinity.pin(device.cpus)
        work = import_module(f"latadj.commands.{module}")
        launch.launch(command, overrides or [], work.prepare, work.run, multirun)
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        typer.echo(f"latadj {command}: {_one_line(error)}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"latadj {command}: interrupted; fine-tuning goes on with resume=true", err=True)
        raise typer.Exit(130) from None


def _one_line(error: BaseException) -> str:
    """The message of an error without line breaks and without Hydra's and OmegaConf's footnotes."""
    from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

    if isinstance(error, OmegaConfBaseException):
        *links, cause = _chain(error)
        own = isinstance(cause, ValueError) and not isinstance(cause, OmegaConfBaseException)
        if own and any(isinstance(link, InterpolationResolutionError) for link in links):
            return str(cause)  # a resolver of ours refused: its own words are the clearer ones
        return f"{error.full_key}: {str(error).splitlines()[0]}" if error.full_key else str(error).splitlines()[0]
    text = str(error).split("Config search path:")[0]
    return " ".join(part.strip() for part in text.splitlines() if part.strip()) or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
