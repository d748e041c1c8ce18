"""The result of `latadj info`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from latadj.checkpoints.runtime_times import RuntimeTimes
from latadj.config import EMBEDDING, GENERATION, RERANKING
from latadj.elimination.topk_setting import TopK, TopKAttention
from latadj.reporting.results.base import Result
from latadj.reporting.results.dial_positions import DialInfo, positions_table, some_layers
from latadj.reporting.results.runtimes import runtimes_table
from latadj.reporting.table import Document, Table
from latadj.utils.serialization import LARGEST_INT


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
class Served:
    """One precision on one device and batch size; ``error`` is the latency model's on passes left out of its fit."""

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
    runtimes : for each batch size the time in PyTorch and of exported graphs; empty: `runtime=auto` was not asked
    """

    place: str
    here: bool
    auto: str | None
    trials: dict[str, dict[str, float]]
    serving: list[Served]
    runtimes: tuple[RuntimeTimes, ...] = ()


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
    auto : the precision that ``device.precision=auto`` takes there, and why; None if nobody has asked for it yet
    run, seed : of the fine-tuning
    pruned : None if nothing was removed
    extracted : of which speedup of a larger model's dial it is; None if of none
    topk_attention : for each layer the keys that a query attends to, or their share; None if all in every layer
    supports : what can be done with models of its kind; nothing where latadj does not know it
    warnings : each a line that says what to do
    """

    SCHEMA: ClassVar[str] = "latadj.info/2"
    FILE = "info"

    folder: str
    model: Shape
    task: str | None
    task_spec: dict[str, Any] | None
    dial: DialInfo | None
    devices: list[DeviceInfo]
    here: str
    auto: str | None = None
    validation: dict[str, dict[str, Any]] = field(default_factory=dict)
    tested: list[Tested] = field(default_factory=list)
    calibration: dict[str, Any] = field(default_factory=dict)
    run: str | None = None
    seed: int | None = None
    pruned: PrunedInfo | None = None
    extracted: dict[str, Any] | None = None
    topk_attention: list[TopK] | None = None
    supports: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def document(self) -> Document:
        """What a checkpoint is, its dial, its devices, its results."""
        tables = [Table.of_cells("", ["", ""], _facts(self), left=2, show_header=False)]
        if self.dial is not None:
            tables.append(positions_table(self.dial))
        if self.devices:
            tables.append(_devices(self))
            tables += [runtimes_table(one.runtimes) for one in self.devices if one.here and one.runtimes]
        if self.validation or self.tested or (self.pruned and self.pruned.notes):
            tables.append(_metrics(self))
        return Document(tables)

    def show(self) -> None:
        """Show it on the terminal; warnings go to standard error."""
        super().show()
        stderr = Console(stderr=True, highlight=False)
        for line in self.warnings:
            stderr.print(f"latadj info: {line}", style="yellow", markup=False, soft_wrap=True)


FORMATS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64"}


def _facts(info: Info) -> list[tuple[str, str]]:
    model, task_spec = info.model, info.task_spec
    shape = [f"{value} {name}" for name, value in (("layers", model.layers), ("heads", model.heads)) if value]
    if model.width:
        shape.insert(1, f"width {model.width}")
    formats = ", ".join(FORMATS.get(name, name) for name in model.formats)
    facts = [
        ("checkpoint", info.folder),
        ("model", ", ".join([model.architecture or model.type, *shape])),
        ("weights", f"{model.parameters:,} parameters, {formats}, {_size(model.bytes)}"),
        ("supports", ", ".join(info.supports) or f"nothing: latadj does not know a {model.type}"),
        ("task", info.task or "not known: latadj did not make it"),
    ]
    if task_spec is not None:
        labels = task_spec["labels"]
        some = ", ".join(labels[:6]) + (f", ... {len(labels)} in all" if len(labels) > 6 else "")
        facts.append(("made for", f"{task_spec['type']} of {' and '.join(task_spec['text'])}"))
        if task_spec["type"] not in (GENERATION, EMBEDDING):
            number = "score" if task_spec["type"] == RERANKING else "regression"
            facts.append(("labels", some or f"none: a {number}"))
        facts.append(("at most", f"{task_spec['max_length']} tokens, {task_spec['batch_size']} texts a batch"))
    if info.seed is not None or info.run is not None:
        facts.append(("made by", f"seed {info.seed}, run {info.run}"))
    if info.extracted is not None:
        speedup, target = info.extracted["speedup"], info.extracted["target"]
        facts.append(("extracted", f"{speedup:g}x of a larger model's dial, in {target}"))
    if info.pruned is not None:
        facts += _pruned_facts(info.pruned)
    if info.topk_attention is not None:
        facts.append(("top-k attention", TopKAttention.from_json(info.topk_attention).text()))
    if info.dial is not None:
        facts += _dial_facts(info.dial, info.calibration)
    if info.auto is not None:
        facts.append(("precision auto", info.auto))
    return facts


def _pruned_facts(pruned: PrunedInfo) -> list[tuple[str, str]]:
    notes, facts = pruned.notes, []
    if "objective" in notes:
        wanted = f"budget {notes['budget']:g}" if notes.get("budget") else f"tolerance {notes.get('tolerance', 0):g}"
        facts.append(("pruned", f"for {notes['objective']}, {wanted}"))
    for name, left, of in (("heads", pruned.heads, pruned.of_heads), ("neurons", pruned.neurons, pruned.of_neurons)):
        layers = some_layers(len(left))
        counts = " ".join(str(left[layer - 1]) for layer in layers)
        by_layer = "by layer" if len(layers) == len(left) else f"in layers {_list(layers)}"
        had = f"{min(of)}" if min(of) == max(of) else f"{min(of)} to {max(of)}"
        facts.append((f"{name} left", f"{counts} of {had}, {by_layer}"))
    return facts


def _dial_facts(dial: DialInfo, calibration: dict[str, Any]) -> list[tuple[str, str]]:
    examples = calibration.get("examples")
    searched = f", searched at {_list(dial.searched)}" if dial.searched else ""
    marked = f"in this device's time, {dial.precision}, batch {dial.batch}"
    facts = [
        ("dial", f"1x to {dial.reach:.2f}x, {marked if dial.target == 'latency' else 'in FLOPs'}"),
        ("profiles", f"profile={dial.profile_type}, score={dial.score}{searched}"),
        ("layer ACC", " ".join(f"{value:.2f}" for value in dial.layer_acc)),
    ]
    if dial.levels:
        memory = ", ".join(f"{times:.1f}x in {precision}" for precision, times in dial.memory.items())
        facts.append(("levels", f"{dial.levels}; laid out for all, weights take the plain model's {memory}"))
    if dial.window:
        facts.insert(2, ("window", dial.window))
    if examples:
        facts.append(("calibrated", f"on {examples} training examples"))
    if calibration.get("validation_examples") and any(position.drop is not None for position in dial.positions):
        facts.append(("drops", f"in points, on {calibration['validation_examples']} validation examples"))
    return facts


def _devices(info: Info) -> Table:
    rows = []
    for device in info.devices:
        place = ("this device: " if device.here else "") + device.place
        for number, served in enumerate(device.serving):
            rows.append(
                [
                    place if number == 0 else "",
                    served.precision + (" (auto)" if served.precision == device.auto else ""),
                    served.kernel,
                    "" if served.batch is None else str(served.batch),
                    "" if served.error is None else f"{100 * served.error:.1f}%",
                ]
            )
    return Table.of_cells("Calibrated on", ["device", "precision", "kernel", "batch", "error"], rows, left=3)


def _metrics(info: Info) -> Table:
    rows = []
    for stage, metrics in info.validation.items():
        shown = {name.removeprefix("eval_"): value for name, value in metrics.items() if name != "seconds"}
        values = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in shown.items())
        rows.append(["validation", stage, values])
    notes = info.pruned.notes if info.pruned else {}
    pruned = [f"{name} {_value(notes[name])}" for name in ("judged", "confirmed") if name in notes]
    if pruned:
        rows.append(["validation", "pruned", ", ".join(pruned)])
    for result in info.tested:
        values = ", ".join(f"{at}x {_value(value)}" for at, value in result.scores.items())
        name = f"test, {Path(result.file).stem}" + (", older than the weights" if result.older else "")
        rows.append([name, result.metric, values])
    return Table.of_cells("Metrics", ["on", "metric", "values"], rows, left=3)


def _value(value: Any) -> str:
    # A note may be any number of JSON, and an integer beyond floating point has no such form.
    return f"{value:.4g}" if isinstance(value, (int, float)) and abs(value) <= LARGEST_INT else str(value)


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.1f} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1024
    return f"{size:.1f} GiB"
