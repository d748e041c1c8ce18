"""What `latadj predict` did: the result file, and what is printed of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from latadj.config import EMBEDDING, PredictConfig
from latadj.devices.environment import environment
from latadj.elimination.attach import attached, dial_of
from latadj.inference.deadline_counts import DeadlineCounts
from latadj.inference.streams.plan import ModelPlan, Plan
from latadj.inference.streams.writing import NPY, Paths, PredictState, output_format
from latadj.kernels.linear import KernelSpec
from latadj.reporting.table import Document, Table
from latadj.utils.serialization import unstructure

DEADLINES = {"met by the clock": "met", "predicted to be met, but late": "late", "beyond the largest speedup": "beyond"}
# Exit code where too few texts met the deadline.
MISSED = 3


def summary(
    model: PreTrainedModel,
    spec: KernelSpec,
    plan: Plan,
    state: PredictState,
    config: PredictConfig,
    resumed: bool,
    broken: Path | None,
) -> dict[str, Any]:
    """What ``predict.json`` holds."""
    return {
        "schema": "latadj.predict/1",
        "checkpoint": config.checkpoint,
        "task": plan.metadata.task,
        "type": plan.task_type,
        "input": config.input,
        "output": config.output,
        "broken_rows": None if broken is None else str(broken),
        "rows": state.counts,
        "seconds": state.seconds,
        "texts_per_s": state.counts["written"] / state.seconds if state.seconds else None,
        "resumed": resumed,
        **served_facts(model, spec, plan),
        "deadline": _deadline(dial_of(model).latency, state, config) if config.deadline_ms is not None else None,
        "vectors": _vectors(state, config) if plan.task_type == EMBEDDING else None,
        "settings": plan.settings,
        "config": asdict(config),
    }


def served_facts(model: PreTrainedModel, spec: KernelSpec, plan: ModelPlan) -> dict[str, Any]:
    """What a result says of the model that answers, and of what it runs on."""
    dial, speedup = attached(model).dial, plan.speedup
    profile = dial.profile(speedup) if dial is not None and speedup is not None else None
    return {
        "speedup": speedup,
        "target": dial.target if dial else None,
        "keep": list(profile.keep) if profile else None,
        "level": unstructure(profile.level) if profile else None,
        "predicted": dial.predicted(profile) if dial and profile and dial.latency else None,
        "environment": {**environment(model.device, spec.precision), "kernel": spec.kernel},
    }


def _deadline(latency: Any, state: PredictState, config: PredictConfig) -> dict[str, Any]:
    met = state.deadline or DeadlineCounts().to_json()
    asked = {"ms": config.deadline_ms, "quantile": config.deadline_quantile, "max_speedup": config.max_speedup}
    asked |= {"max_drop": config.max_drop, "confident": config.confident}
    return {**asked, "batch_size": state.settings["batch_size"], "measured_at": latency.batch, **met}


def _vectors(state: PredictState, config: PredictConfig) -> dict[str, Any]:
    """Of embeddings: the type of their numbers, and the files beside them that tell what the numbers mean."""
    ranges, paths = state.ranges, Paths(Path(config.output))
    numbers = len(ranges.low) * state.counts["written"] if ranges else 0
    return {
        "type": config.vectors or "float32",
        "rows": str(paths.rows) if output_format(config.output) == NPY else None,
        "ranges": str(paths.ranges) if ranges and ranges.texts else config.ranges,
        "ranges_of_texts": ranges.texts if ranges else None,
        "clipped": ranges.clipped / numbers if ranges and numbers else None,
    }


def exit_code(result: dict[str, Any]) -> int:
    """3 where fewer texts than ``deadline_quantile`` met the deadline, else 0."""
    deadline = result["deadline"]
    if deadline is None or not deadline["texts"]:
        return 0
    return MISSED if deadline["met_texts"] / deadline["texts"] < deadline["quantile"] else 0


def document(result: dict[str, Any]) -> Document:
    """What is printed of ``predict.json``."""
    rows, deadline = result["rows"], result["deadline"]
    at = f"at {result['speedup']:g}x" if deadline is None else f"within {deadline['ms']:g} ms a batch"
    lines = [
        ["rows read", f"{rows['read']:,}"],
        ["written", f"{rows['written']:,}"],
        ["broken, left out", f"{rows['broken']:,}"],
    ]
    if result["texts_per_s"] is not None:
        lines.append(["texts a second", f"{result['texts_per_s']:,.0f}"])
    vectors = result["vectors"]
    if vectors is not None and vectors["rows"]:
        lines.append(["row of each vector", vectors["rows"]])
    if vectors is not None and vectors["ranges"]:
        lines.append(["ranges", vectors["ranges"]])
    if vectors is not None and vectors["clipped"] is not None:
        lines.append(["numbers beyond them", f"{vectors['clipped']:.2%}"])
    if deadline is not None and deadline["batches"]:
        for name, which in DEADLINES.items():
            batches, texts = deadline[f"{which}_batches"], deadline[f"{which}_texts"] / deadline["texts"]
            lines.append([name, f"{batches:,} of {deadline['batches']:,} batches, {texts:.1%} of the texts"])
        mean = sum(float(speedup) * texts for speedup, texts in deadline["speedups"].items()) / deadline["texts"]
        lines.append(["mean speedup of a text", f"{mean:.2f}x"])
        lines.append(["mean texts of a batch", f"{deadline['texts'] / deadline['batches']:.1f}"])
    return Document([Table.of_cells(f"{result['input']} {at}", ["", ""], lines, show_header=False)])
