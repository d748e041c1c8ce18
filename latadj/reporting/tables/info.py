"""What `latadj info` found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latadj.config import GENERATION
from latadj.elimination.topk.setting import TopKAttention
from latadj.reporting.results.info import DialInfo, Info, Position, PrunedInfo
from latadj.reporting.table import Column, Document, Table, speedup

# As many keep ratios as fit a line of 80 characters beside the other columns.
MOST_LAYERS = 7
FORMATS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64"}


def document(info: Info) -> Document:
    """What a checkpoint is, its dial, its devices, its results."""
    tables = [Table.of_cells("", ["", ""], _facts(info), left=2, show_header=False)]
    if info.dial is not None:
        tables.append(_positions(info.dial))
    if info.devices:
        tables.append(_devices(info))
    if info.validation or info.tested or (info.pruned and info.pruned.notes):
        tables.append(_metrics(info))
    return Document(tables)


def _facts(info: Info) -> list[tuple[str, str]]:
    model, task_spec = info.model, info.task_spec
    shape = [f"{value} {name}" for name, value in (("layers", model.layers), ("heads", model.heads)) if value]
    if model.width:
        shape.insert(1, f"width {model.width}")
    formats = ", ".join(FORMATS.get(name, name) for name in model.formats)
    found = [
        ("checkpoint", info.folder),
        ("model", ", ".join([model.architecture or model.type, *shape])),
        ("weights", f"{model.parameters:,} parameters, {formats}, {_size(model.bytes)}"),
        ("task", info.task or "not known: latadj did not make it"),
    ]
    if task_spec is not None:
        labels = task_spec["labels"]
        some = ", ".join(labels[:6]) + (f", ... {len(labels)} in all" if len(labels) > 6 else "")
        found.append(("made for", f"{task_spec['type']} of {' and '.join(task_spec['text'])}"))
        if task_spec["type"] != GENERATION:
            found.append(("labels", some or "none: a regression"))
        found.append(("at most", f"{task_spec['max_length']} tokens, {task_spec['batch_size']} texts a batch"))
    if info.seed is not None or info.run is not None:
        found.append(("made by", f"seed {info.seed}, run {info.run}"))
    if info.pruned is not None:
        found += _pruned_facts(info.pruned)
    if info.topk_attention is not None:
        found.append(("hard attention", TopKAttention.from_json(info.topk_attention).text()))
    if info.dial is not None:
        found += _dial_facts(info.dial, info.calibration)
    return found


def _pruned_facts(pruned: PrunedInfo) -> list[tuple[str, str]]:
    notes, found = pruned.notes, []
    if "objective" in notes:
        wanted = f"budget {notes['budget']:g}" if notes.get("budget") else f"tolerance {notes.get('tolerance', 0):g}"
        found.append(("pruned", f"for {notes['objective']}, {wanted}"))
    for name, left, of in (("heads", pruned.heads, pruned.of_heads), ("neurons", pruned.neurons, pruned.of_neurons)):
        layers = some_layers(len(left))
        counts = " ".join(str(left[layer - 1]) for layer in layers)
        by_layer = "by layer" if len(layers) == len(left) else f"in layers {_list(layers)}"
        had = f"{min(of)}" if min(of) == max(of) else f"{min(of)} to {max(of)}"
        found.append((f"{name} left", f"{counts} of {had}, {by_layer}"))
    return found


def _dial_facts(dial: DialInfo, calibration: dict[str, Any]) -> list[tuple[str, str]]:
    examples = calibration.get("examples")
    searched = f", searched at {_list(dial.searched)}" if dial.searched else ""
    marked = f"in this device's time, {dial.precision}, batch {dial.batch}"
    found = [
        ("dial", f"1x to {dial.reach:.2f}x, {marked if dial.target == 'latency' else 'in FLOPs'}"),
        ("profiles", f"profile={dial.profile_type}, score={dial.score}{searched}"),
        ("layer ACC", " ".join(f"{value:.2f}" for value in dial.layer_acc)),
    ]
    if dial.window:
        found.insert(2, ("window", dial.window))
    if examples:
        found.append(("calibrated", f"on {examples} training examples"))
    return found


def _positions(dial: DialInfo) -> Table:
    layers = some_layers(len(dial.layer_acc))
    timed = dial.target == "latency"
    layer_names = "" if len(layers) == len(dial.layer_acc) else f" {_list(layers)}"

    def kept(position: Position) -> str:
        if position.keep is None:
            return "out of reach"
        return " ".join(f"{100 * position.keep[layer - 1]:3.0f}" for layer in layers)

    columns = [
        Column("speedup", lambda position: position.speedup, "{:g}x"),
        speedup("predicted", lambda position: position.predicted, shown=timed),
        Column("ms a batch", lambda position: position.batch_ms, "{:.1f}", shown=timed),
        speedup("FLOPs", lambda position: position.flops_speedup),
        Column(f"% kept by layer{layer_names}", kept, left=True),
    ]
    return Table("Dial", columns, dial.positions)


def some_layers(count: int, most: int = MOST_LAYERS) -> list[int]:
    """Numbers of layers to show, from 1: all, or ``most`` that are spread evenly with the first and the last."""
    if count <= most:
        return list(range(1, count + 1))
    return [1 + round(place * (count - 1) / (most - 1)) for place in range(most)]


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
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.1f} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1024
    return f"{size:.1f} GiB"
