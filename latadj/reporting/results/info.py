"""What `latadj info` says of a checkpoint, typed; its JSON form holds all that the terminal shows."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from latadj.elimination.topk.setting import TopK
from latadj.reporting.results.base import Result


@dataclass
class Shape:
    """The model: its kind, size and how its numbers are stored.

    layers, width, heads : None where ``config.json`` does not say
    """

    type: str
    architecture: str | None
    layers: int | None
    width: int | None
    heads: int | None
    parameters: int
    bytes: int
    formats: dict[str, int]


@dataclass
class Position:
    """One position of the dial; all but ``speedup`` is None where it is out of reach.

    keep : keep ratio of each layer
    flops_speedup : over the plain model
    predicted : as the dial is marked here: in time over the dial's speedup 1, or in FLOPs
    batch_ms : predicted milliseconds of a batch; None where this device was not calibrated
    """

    speedup: float
    keep: list[float] | None = None
    flops_speedup: float | None = None
    predicted: float | None = None
    batch_ms: float | None = None


@dataclass
class DialInfo:
    """The dial, marked for this device if it was calibrated here.

    target : ``latency`` or ``flops``
    precision, batch : what it is marked for; None in FLOPs
    window : of a decoder; None where all tokens score
    """

    profile_type: str
    score: str
    target: str
    precision: str | None
    batch: int | None
    max_speedup: float
    reach: float
    reads: str
    searched: list[float]
    window: str | None
    layer_acc: list[float]
    positions: list[Position]


@dataclass
class Served:
    """One precision on one device, at one batch size; ``error`` is the device model's on passes left out of its fit."""

    precision: str
    kernel: str
    batch: int | None = None
    error: float | None = None


@dataclass
class DeviceInfo:
    """A device that the checkpoint was calibrated on.

    here : whether a command would run there now, with no ``device=``
    auto : the precision that ``device.precision=auto`` takes there; None if it was not asked
    trials : what that choice stands on
    """

    place: str
    here: bool
    auto: str | None
    trials: dict[str, dict[str, float]]
    serving: list[Served]


@dataclass
class Tested:
    """A result on the test split, found beside the checkpoint.

    file : where it was found
    scores : by speedup
    older : whether the weights were written after it
    """

    file: str
    metric: str
    full: float | None
    scores: dict[str, float]
    time: str | None
    older: bool


@dataclass
class PrunedInfo:
    """What pruning left.

    heads, neurons : of each layer; with grouped-query attention key/value heads, each with all its queries
    of_heads, of_neurons : how many each layer had
    notes : objective, budget, tolerance and metrics on validation text; empty where latadj did not choose
    """

    heads: list[int]
    of_heads: list[int]
    neurons: list[int]
    of_neurons: list[int]
    notes: dict[str, Any]


@dataclass
class Info(Result):
    """Everything `latadj info` found.

    task : its name; ``task_spec`` what it asks of a model; each None where latadj does not know
    validation : metrics of each stage of fine-tuning
    here : the device that commands run on now
    run, seed : of the fine-tuning
    pruned : None if nothing was removed
    topk_attention : for each layer the keys that a query attends to, or their share; None if all in every layer
    warnings : each a line that says what to do
    """

    SCHEMA: ClassVar[str] = "latadj.info/1"

    folder: str
    model: Shape
    task: str | None
    task_spec: dict[str, Any] | None
    dial: DialInfo | None
    devices: list[DeviceInfo]
    here: str
    validation: dict[str, dict[str, Any]] = field(default_factory=dict)
    tested: list[Tested] = field(default_factory=list)
    calibration: dict[str, Any] = field(default_factory=dict)
    run: str | None = None
    seed: int | None = None
    pruned: PrunedInfo | None = None
    topk_attention: list[TopK] | None = None
    warnings: list[str] = field(default_factory=list)
