"""What `calibrate`, `eval` and `finetune` write, as far as it is read again; a file may hold more."""

from typing import Annotated, Any, TypedDict

from latadj.reporting.results.origin import Config, Environment
from latadj.utils.serialization import Entries, Like, Positive, structure

Interval = tuple[float, float]


class _Written(TypedDict):
    model: str
    task: str
    environment: Environment
    config: Config


class _Keeps(TypedDict):
    speedup: Positive
    keep: list[float]
    flops_speedup: Positive
    predicted: Positive | None


class _Profile(_Keeps, total=False):
    short_length: float
    whole_length: float
    width: float
    heads: list[float]
    neurons: list[float]
    by_width: Positive


class _Dial(TypedDict):
    profile_type: str


class Calibrated(_Written):
    """What `latadj calibrate` writes."""

    examples: int
    layer_acc: Annotated[list[float], Entries(2**10, 1)]
    by_rank: list[Annotated[list[float], Entries(2**16, 1)]] | None
    profiles: Annotated[list[_Profile], Entries(2**10, 1)]
    dial: Annotated[dict[str, Any], Like(_Dial)]
    reach: float


class _Evaluated(_Written):
    metric: str
    speedup: Positive
    scores: Annotated[dict[str, dict[str, float]], Entries(2**10, 1)]
    metric_ci: dict[str, Interval]


class Evaluated(_Evaluated):
    """What `latadj eval` writes of a task with labels."""

    measured: float
    measured_ci: Interval
    throughput_per_s: float
    latency_ms: dict[str, float]


class EvaluatedContinuations(_Evaluated):
    """What `latadj eval` writes of a generation task."""

    ttft_percentiles_ms: dict[str, float]


class Finetuned(_Written):
    """What `latadj finetune` writes."""

    validation: dict[str, dict[str, float]]


class _TestedRow(TypedDict):
    speedup: Positive
    metric: float


class _MadeFrom(TypedDict):
    checkpoint: str


class _When(TypedDict, total=False):
    time: str


class _Tested(TypedDict):
    task: str
    metric: str
    config: Annotated[dict[str, Any], Like(_MadeFrom)]
    environment: Annotated[dict[str, Any], Like(_When)]


class Tested(_Tested, total=False):
    """What `latadj sweep` and `latadj eval` both write: scores of a checkpoint on test text, by speedup."""

    baseline_metric: float
    rows: list[_TestedRow]
    speedup: Positive
    scores: dict[str, dict[str, float]]


def calibrated(data: dict[str, Any]) -> dict[str, Any]:
    """What `latadj calibrate` wrote, as it is.

    Raises
    ------
    ValueError
        naming what is missing or does not fit.
    """
    structure(Calibrated, data)
    layers = len(data["layer_acc"])
    ranks = data["by_rank"] or []
    parts = [one[part] for one in data["profiles"] for part in ("keep", "heads", "neurons") if part in one]
    for name, fits in (
        ("by_rank", len(ranks) in (0, layers) and len({len(row) for row in ranks}) <= 1),
        ("profiles", all(len(part) == layers for part in parts)),
    ):
        if not fits:
            raise ValueError(f"{name}: expected numbers for each of {layers} layers")
    return data


def evaluated(data: dict[str, Any]) -> dict[str, Any]:
    """What `latadj eval` wrote, as it is; parameters and errors as in :func:`calibrated`."""
    generates = str(data.get("schema")).startswith("latadj.eval.generation/")
    structure(EvaluatedContinuations if generates else Evaluated, data)
    if any(data["metric"] not in scores for scores in data["scores"].values()):
        raise ValueError(f"scores: no {data['metric']} in all of them")
    if missing := data["scores"].keys() - data["metric_ci"].keys():
        raise ValueError(f"metric_ci: nothing for {min(missing)}")
    return data


def finetuned(data: dict[str, Any]) -> dict[str, Any]:
    """What `latadj finetune` wrote, as it is; parameters and errors as in :func:`calibrated`."""
    structure(Finetuned, data)
    return data


def tested(data: dict[str, Any]) -> dict[str, Any]:
    """What `latadj sweep` or `latadj eval` wrote, as it is; parameters and errors as in :func:`calibrated`."""
    structure(Tested, data)
    if "rows" not in data:
        if "speedup" not in data or not data.get("scores"):
            raise ValueError("rows missing")
        if data["metric"] not in next(iter(data["scores"].values())):
            raise ValueError(f"scores: no {data['metric']}")
    return data
