"""latadj collect: the results of all runs below a folder in one table and picture, over seeds."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latadj.checkpoints.metadata import read_metadata
from latadj.reporting.results.collected import Collected, CollectedRow, Mean
from latadj.reporting.results.dial_sweep import DialSweep
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.sweep import Sweep
from latadj.reporting.results.written import evaluated
from latadj.utils.files import load_json

# Where a command leaves the results that can be joined.
FILES = ("sweep/sweep.json", "eval/eval.json")
SWEEPS: dict[str, type[DialSweep]] = {kind.SCHEMA: kind for kind in (Sweep, GenerationSweep)}
EVALUATION = "latadj.eval/2"
# Places, and what a result's rows say themselves: no part of a setting.
ASIDE = re.compile(
    r"(seed|folder|experiment|speedup|report_to|escape_formulas|device\.cpus|model\.path|task\.data_dir)$"
    r"|task\.(data_files|files|hub)(\.|$)"
)
MODELS = ("checkpoint", "exported")
Seeds = tuple[int, int]


@dataclass
class Point:
    """One position of the dial in one result, as :class:`CollectedRow`."""

    speedup: float
    metric: float
    loss: float
    flops_speedup: float
    over_full: float | None = None
    over_own: float | None = None


@dataclass
class Found:
    """One result.

    seed : of the run
    trained : seed of the training that made its model, where that is known
    place : of a model in the run's own folder, without its seed; empty of one elsewhere
    facts : what may tell it apart from others of the same model and task
    """

    file: str
    model: str
    task: str
    metric: str
    scale: float
    seed: int
    trained: int | None
    place: str
    facts: dict[str, str]
    time: str
    noisy: bool
    points: list[Point]

    @property
    def seeds(self) -> Seeds:
        """Of the training and of the run."""
        return self.seed if self.trained is None else self.trained, self.seed


def run(folder: Path) -> Collected:
    """Join the results in a folder and below it; writes them to its ``collect`` and shows them.

    Raises
    ------
    ValueError
        if there are none.
    """
    collected = collect(folder)
    collected.report(folder / "collect")
    return collected


def collect(folder: Path) -> Collected:
    """Join the results in a folder and below it, see :func:`run`; nothing is written."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name one that holds the folders of runs")
    found: list[Found] = []
    left_out: dict[str, str] = {}
    for path in sorted(path for file in FILES for path in folder.rglob(file)):
        name = path.relative_to(folder).as_posix()
        try:
            found.append(_read(path, name))
        except ValueError as error:
            left_out[name] = str(error)
    if not found:
        damage = "".join(f"; {file}: {why}" for file, why in left_out.items())
        raise ValueError(
            f"{folder}: there is no {' or '.join(FILES)} in it or below it{damage}; run `latadj sweep --multirun` "
            "(same options) first"
        )
    rows = [row for group in _groups(found) for row in _rows(group, left_out)]
    files = [one.file for one in found if one.file not in left_out]
    noisy = sum(one.noisy for one in found if one.file not in left_out)
    return Collected(folder=str(folder), files=files, rows=rows, left_out=left_out, noisy=noisy)


def _read(path: Path, name: str) -> Found:
    data = load_json(path)
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema in SWEEPS:
        sweep = SWEEPS[schema].from_json(data)
        points = [
            Point(
                *(row.speedup, row.metric, row.loss[0], row.flops_speedup),
                over_full=row.over_full and row.over_full.speedup,
                over_own=row.over_own and row.over_own.speedup,
            )
            for row in sweep.rows
        ]
        scale = 100 if sweep.greater_is_better else 1
    elif schema == EVALUATION:
        evaluated(data)
        if not all(isinstance(data.get(key), float) for key in ("drop", "flops_speedup")):
            raise ValueError("drop or flops_speedup missing: evaluate again")
        metric = next(iter(data["scores"].values()))[data["metric"]]
        points = [Point(data["speedup"], metric, data["drop"], data["flops_speedup"], over_own=data["measured"])]
        scale = 100
    else:
        raise ValueError(f"schema {schema!r}: expected one of {', '.join([*SWEEPS, EVALUATION])}")
    config, where = data["config"], data["environment"]
    noisy, when = bool((where.get("quiet") or {}).get("noisy")), str(where.get("time", ""))
    seed, trained = int(config.get("seed", 0)), _trained(config)
    facts = {"result": schema.split("/")[0], **_facts(config, where)}
    facts |= {key: _without(seed if trained is None else trained, facts[key]) for key in MODELS if key in facts}
    own = str(config.get("checkpoint")).startswith(f"{config.get('folder')}/")
    return Found(
        *(name, data["model"], data["task"], data["metric"], scale, seed, trained),
        *(facts.pop("checkpoint") if own else "", facts, when, noisy, points),
    )


def _trained(config: dict[str, Any]) -> int | None:
    """The seed that the model's own notes name, if it is still there."""
    if not config.get("checkpoint"):
        return None
    try:
        seed = read_metadata(Path(config["checkpoint"])).notes.get("seed")
    except ValueError:
        return None
    return seed if isinstance(seed, int) else None


def _facts(config: dict[str, Any], where: dict[str, Any]) -> dict[str, str]:
    facts = {key: str(value) for key, value in _flat(config) if not ASIDE.match(key)}
    machine = {key: str(where[key]) for key in ("processor", "threads", "precision")}
    return {**facts, **machine}


def _without(seed: int, path: str) -> str:
    """A path without the number of a seed.

    Of several such numbers, one that is called seed is taken away, else the last: two paths come out as one only where
    they differ by their seeds and nothing else.
    """
    for number in (rf"(?<=seed)([-_=]?){seed}(?!\d)", rf"(?<![\d.])(){seed}(?![\d.])"):
        if found := list(re.finditer(number, path)):
            last = found[-1]
            return f"{path[: last.start()]}{last[1]}*{path[last.end() :]}"
    return path


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _groups(found: list[Found]) -> list[list[Found]]:
    """By model, task and metric."""
    groups: dict[tuple[str, str, str], list[Found]] = defaultdict(list)
    for one in found:
        groups[one.model, one.task, one.metric].append(one)
    return list(groups.values())


def _rows(group: list[Found], left_out: dict[str, str]) -> Iterator[CollectedRow]:
    """The rows of one model and task, by setting; of results of the same setting, seed and speedup the newest."""
    if _several_models(group):
        for one in group:
            one.facts |= {"checkpoint": one.place} if one.place else {}
    names = list(dict.fromkeys(name for one in group for name in one.facts))
    varied = [name for name in names if len({one.facts.get(name) for one in group}) > 1]
    settings: dict[str, dict[float, dict[Seeds, tuple[Found, Point]]]] = defaultdict(lambda: defaultdict(dict))
    newer: dict[str, str] = {}
    for one in sorted(group, key=lambda one: one.time):
        at_speedup = settings[" ".join(f"{name}={one.facts[name]}" for name in varied if name in one.facts)]
        for point in one.points:
            by_seed = at_speedup[point.speedup]
            if one.seeds in by_seed:
                newer[by_seed[one.seeds][0].file] = one.file
            by_seed[one.seeds] = one, point
    used = {
        one.file for at_speedup in settings.values() for by_seed in at_speedup.values() for one, _ in by_seed.values()
    }
    for file in sorted(newer.keys() - used):
        left_out[file] = f"{newer[file]} is newer, of the same setting, seed and speedups"
    first = group[0]
    for setting, at_speedup in sorted(settings.items()):
        for at, by_seed in sorted(at_speedup.items()):
            ordered = sorted(by_seed.items())
            each = [point for _, (_, point) in ordered]
            yield CollectedRow(
                model=first.model,
                task=first.task,
                metric_name=first.metric,
                setting=setting,
                speedup=at,
                seeds=_shown([seeds for seeds, _ in ordered]),
                scale=first.scale,
                metric=Mean.of([point.metric for point in each]),
                loss=Mean.of([point.loss for point in each]),
                flops_speedup=sum(point.flops_speedup for point in each) / len(each),
                over_full=_clock([point.over_full for point in each]),
                over_own=_clock([point.over_own for point in each]),
            )


def _several_models(group: list[Found]) -> bool:
    """Whether models of one setting and seed lie in the folders of several runs."""
    places: dict[tuple[Seeds, str], set[str]] = defaultdict(set)
    for one in group:
        places[one.seeds, str(sorted(one.facts.items()))].add(one.place)
    return any(len(alike) > 1 for alike in places.values())


def _shown(seeds: list[Seeds]) -> list[int]:
    """Those of the trainings; where one model was measured with several seeds, those of the runs."""
    trained = [model for model, _ in seeds]
    return trained if len(set(trained)) == len(trained) else [run for _, run in seeds]


def _clock(speedups: list[float | None]) -> Mean | None:
    timed = [speedup for speedup in speedups if speedup is not None]
    return Mean.of(timed) if len(timed) == len(speedups) else None
