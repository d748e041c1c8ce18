"""The command line: Typer declares the commands, Hydra composes what they get."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from latadj import __version__
from latadj.commands.dispatch import launch, one_line_errors, require_one_process, show
from latadj.commands.table import COMMANDS
from latadj.utils.readable import READABLE_RECORDS

# How a shell asks for completions, by Typer's and Click's protocol.
COMPLETES = "_LATADJ_COMPLETE"
# Where a context keeps what stood behind ``--``.
LITERAL = "latadj.literal"

app = typer.Typer(
    name="latadj",
    no_args_is_help=True,
    add_completion=True,
    help=(
        "A latency dial for fine-tuned transformers: fine-tune once, eliminate the tokens that contribute "
        "least, turn one saved model to any speedup from 1x to 5x."
    ),
    epilog="KEY=VALUE are Hydra overrides: latadj finetune model=minilm task=rotten_tomatoes device=auto seed=1",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"latadj {__version__}")
        raise typer.Exit


@app.callback()
def _latadj(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    logging.getLogger("latadj").addFilter(READABLE_RECORDS)


def _complete(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completions of an override: ``adjust.<tab>``, ``task=<tab>``, ``device.precision=<tab>``."""
    from latadj.config.completion import completions

    before = next((words for words in ctx.params.values() if isinstance(words, list)), [])
    return completions(str(ctx.info_name), before, incomplete, hints=os.environ.get(COMPLETES) == "complete_bash")


Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Hydra overrides.", autocompletion=_complete, show_default=False),
]
Multirun = Annotated[
    bool, typer.Option("--multirun", "-m", help="Run all combinations of comma-separated values, as Hydra does.")
]
Cfg = Annotated[bool, typer.Option("--cfg", help="Print the composed config and stop.")]


class CommandHelp(TyperCommand):
    """A command whose ``--help`` ends with all of its keys."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from latadj.config.reference import options_text

        super().format_help(ctx, formatter)
        with one_line_errors(str(self.name)):  # of a YAML in the user's own conf/
            formatter.write(options_text(str(self.name)))


def _plain(name: str) -> Callable[..., None]:
    """A command that takes Hydra overrides and nothing else."""

    def command(overrides: Overrides = None, multirun: Multirun = False, cfg: Cfg = False) -> None:
        with one_line_errors(name):
            launch(name, overrides or [], multirun, cfg)

    return command


class TextCommand(CommandHelp):
    """A command that takes a text among overrides; what stands behind ``--`` is text whatever it looks like."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        place = args.index("--") if "--" in args else len(args)
        ctx.meta[LITERAL] = args[place + 1 :]
        return super().parse_args(ctx, args[:place])


def generate(
    ctx: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]... [PROMPT | - | -- PROMPT]",
            help="The prompt, unless there is a --file; -: standard input. Hydra overrides go before or after it.",
            autocompletion=_complete,
            show_default=False,
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A text file to read the prompt from.")] = None,
    cfg: Cfg = False,
) -> None:
    """Continue a prompt."""
    from latadj.commands import given_text

    with one_line_errors("generate"):
        texts, overrides = given_text.texts_and_overrides("generate", arguments or [])
        if cfg:
            return show("generate", overrides)
        prompt = given_text.only_text(
            *(texts, ctx.meta[LITERAL], file),
            what="prompt",
            example='generate "Once upon a time"',
            quotes="put the prompt into quotes",
        )
        return launch("generate", overrides, False, cfg, prompt=prompt)


def glue(
    overrides: Overrides = None,
    submission: Annotated[
        bool, typer.Option("--submission", help="Also write test-set predictions for GLUE's server, at every speedup.")
    ] = False,
    multirun: Multirun = False,
    cfg: Cfg = False,
) -> None:
    """Run GLUE's tasks."""
    chosen = [*(overrides or []), *(["submission=true"] if submission else [])]
    with one_line_errors("glue"):
        launch("glue", chosen, multirun, cfg)


def explain(
    ctx: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]... [TEXT | - | -- TEXT]",
            help="The text, unless there is a --file; -: standard input. Hydra overrides go before or after it.",
            autocompletion=_complete,
            show_default=False,
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A text file to read the text from.")] = None,
    text2: Annotated[
        str | None, typer.Option("--text2", help="The second text of a pair, or the context of a question.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write one self-contained page with a slider over the speedup.")
    ] = None,
    cfg: Cfg = False,
) -> None:
    """Show which words survive."""
    from latadj.commands import given_text

    with one_line_errors("explain"):
        texts, overrides = given_text.texts_and_overrides("explain", arguments or [])
        if cfg:
            return show("explain", overrides)
        first = given_text.only_text(
            *(texts, ctx.meta[LITERAL], file),
            what="text",
            example='explain "a fine film" speedup=3',
            quotes="put one text into quotes, and that of a pair after --text2",
        )
        given_text.require_unicode(text2 or "", "second text")
        texts = [first] if text2 is None else [first, text2]
        return launch("explain", overrides, False, False, texts=texts, html=html)


# Commands that take more than overrides.
SPECIAL: dict[str, Callable[..., None]] = {"generate": generate, "glue": glue, "explain": explain}
for _name, _command in COMMANDS.items():
    _class = TextCommand if _name in ("generate", "explain") else CommandHelp
    app.command(_name, cls=_class, help=escape(_command.help))(SPECIAL.get(_name) or _plain(_name))


@app.command()
def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A checkpoint's folder, or that of the run that made it; the default checkpoint if left out.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """What a checkpoint holds: model, task, dial, devices, metrics; warns if this device was not calibrated."""
    with one_line_errors("info"):
        from latadj.commands import info as work
        from latadj.config.compose import compose

        require_one_process("info")
        work.run(path or Path(compose("sweep", []).checkpoint), as_json)


@app.command()
def collect(
    folder: Annotated[Path, typer.Argument(help="A folder with runs in it or below it, such as that of a multirun.")],
) -> None:
    """Join the results of many runs in one table and picture: mean and interval over seeds for each setting."""
    with one_line_errors("collect"):
        from latadj.commands import collect as work

        require_one_process("collect")
        work.run(folder)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A checkpoint's folder, or that of the run that made it.")],
    name: Annotated[str, typer.Argument(help="The repository, as in you/model; made if there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch to write to; made if needed.")] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="License of the model, as the hub spells it: apache-2.0.")
    ] = None,
) -> None:
    """Send a checkpoint with its dial to the Hugging Face hub, with a model card of what was measured."""
    with one_line_errors("push"):
        from latadj.commands import push as work

        require_one_process("push")
        work.run(folder, name, private=private, revision=revision, license_name=license_name)


def main() -> None:
    """Entry point."""
    app()
