"""The result of a sweep of several models: each in every precision, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, TypedDict

from latadj.elimination.topk_setting import TopK, TopKAttention
from latadj.reporting.results.base import Result, measured_on, warning
from latadj.reporting.results.dial_sweep import Measured
from latadj.reporting.results.origin import Config, Environment
from latadj.reporting.table import Column, Document, Table, entry, interval, speedup
from latadj.utils.serialization import AT_LEAST_1, Entries, Like, Positive

# Name in ``samples_s`` of what speedups count from: the first model in fp32, by transformers' own forward.
REFERENCE = "transformers fp32"


@dataclass
class Tried:
    """What validation text said of one speedup; ``drop`` in metric points against the reference, 0.01 = one point."""

    speedup: float
    metric: float
    drop: float


@dataclass
class ModelRow:
    """One model in one precision. What the clock shows is None where it was left out.

    speedup : that it ran at; where several were asked for, the largest that held its quality on validation text
    target : what its dial is marked in, ``latency`` or ``flops``; None where it has none
    profile : keep ratios
    tried : what validation text said of its speedups, from the largest down; the last one was taken
    within : whether that one lost no more than ``max_drop`` there
    metric, scores, drop : on test text; the drop is paired, against the reference, and positive = worse
    parameters : outside the embeddings; ``parameters_total`` are all
    topk_attention : for each layer the keys that a query attends to, or their share; None if all in every layer
    file_bytes : of its weights as they are saved, whatever precision it is served in
    memory_mb : peak of a process that serves it in batches of ``memory_shape``
    flops_speedup : over the reference, without padding
    flops_over_plain : over the first model by latadj's own engine, which trims the last layer where that is lossless
    measured_speedup : over the reference, with its interval ``ci``
    over_plain : over the first model by latadj's own engine in the same precision, so that the precision is left out
    measured_over_flops : ``over_plain`` over ``flops_over_plain``
    removed_over_flops : share of the first model's time that is gone, over the share of its FLOPs that is: how much a
        clock confirms of what was removed, apart from what stays; None where nothing was
    """

    name: str
    precision: str
    kernel: str
    checkpoint: str
    speedup: Positive
    target: str | None
    profile: list[float]
    tried: Annotated[list[Tried], Entries(2**12, 1)]
    within: bool
    metric: float
    metric_ci: tuple[float, float]
    scores: dict[str, dict[str, float]]
    drop: float
    drop_ci: tuple[float, float]
    parameters: Annotated[int, AT_LEAST_1]
    parameters_total: int
    file_bytes: int
    flops_speedup: Positive
    flops_over_plain: Positive
    memory_mb: float | None = None
    measured_speedup: float | None = None
    ci: tuple[float, float] | None = None
    over_plain: Measured | None = None
    measured_over_flops: float | None = None
    removed_over_flops: float | None = None
    topk_attention: list[TopK] | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in ``samples_s``."""
        return f"{self.name} {self.precision}"

    def clocked(self, over_reference: Measured, over_plain: Measured, latency_ms: dict[str, float]) -> None:
        """Fill in what the clock showed: speedups over the reference and over the first model, percentiles."""
        self.measured_speedup, self.ci = over_reference.speedup, over_reference.ci
        self.over_plain, self.latency_ms = over_plain, latency_ms
        self.measured_over_flops = over_plain.speedup / self.flops_over_plain
        if self.flops_over_plain > 1:
            self.removed_over_flops = (1 - 1 / over_plain.speedup) / (1 - 1 / self.flops_over_plain)


class _Reference(TypedDict):
    metric: float
    validation: float


@dataclass
class Comparison(Result):
    """Everything that a sweep of several models found.

    reference : the first model in fp32 as transformers runs it: its ``metric`` on test and ``validation`` text
    candidates : what `latadj prune` found of each part; empty where it was not run
    left_out : precisions asked for that this device does not offer
    samples_s : raw seconds of every timed batch, model -> rounds -> batches
    batch_lengths, batch_texts : tokens of the longest text, and number of texts, in every timed batch
    memory_shape : batch and length that peak memory was measured at
    """

    SCHEMA: ClassVar[str] = "latadj.comparison/1"
    FILE = "comparison"
    FORMATS = ("csv", "md")
    PLOT = "plot_comparison"

    model: str
    task: str
    metric: str
    reference: Annotated[dict[str, float], Like(_Reference)]
    max_drop: float
    test_examples: int
    validation_examples: int
    candidates: list[dict[str, Any]]
    models: Annotated[list[ModelRow], Entries(2**12, 1)]
    environment: Environment
    config: Config
    left_out: list[str] = field(default_factory=list)
    samples_s: dict[str, list[list[float]]] = field(default_factory=dict)
    batch_lengths: list[int] = field(default_factory=list)
    batch_texts: list[int] = field(default_factory=list)
    memory_shape: tuple[int, int] | None = None

    def check(self) -> None:
        for row in self.models:
            if row.topk_attention:
                TopKAttention(tuple(row.topk_attention))

    def document(self, title: str | None = None) -> Document:
        """A row for each model and precision."""
        table = Table(title or _title(self), self.columns(), self.models)
        first = self.models[0].name
        removed = f"'removed' is the share of {first}'s time that is gone by that measure, over the share of its FLOPs."
        return Document([table], [*self.notes(), removed])

    def terminal(self) -> Document:
        """As much of it as the terminal holds."""
        return Document(self.document().tables, self.notes())

    def columns(self) -> list[Column]:
        """Of the models."""

        def own(name: str) -> Callable[[ModelRow], Any]:
            return lambda row: None if row.over_plain is None else getattr(row.over_plain, name)

        return [
            Column("model", lambda row: row.name, key="name", left=True),
            Column("precision", lambda row: row.precision, key="precision", left=True),
            Column("at", lambda row: row.speedup, "{:g}x", key="speedup"),
            Column("target", lambda row: row.target, key="target", shown=False),
            Column(
                "validation drop", lambda row: row.tried[-1].drop, "{:+.2f}", 100, key="validation_drop", priority=5
            ),
            Column(self.metric, lambda row: row.metric, "{:.2f}", 100, key="metric"),
            interval("metric", lambda row: row.metric_ci, "{:.1f}", scale=100),
            Column("drop, points", lambda row: row.drop, "{:+.2f}", 100, key="drop"),
            interval("drop", lambda row: row.drop_ci, "{:+.2f}", " to ", scale=100),
            Column("params", lambda row: row.parameters, lambda count: f"{count / 1e6:.2f}M", key="parameters"),
            Column("all parameters", lambda row: row.parameters_total, key="parameters_total", shown=False),
            Column(
                "file MB", lambda row: row.file_bytes, lambda size: f"{size / 1e6:.1f}", key="file_bytes", priority=4
            ),
            Column("memory MB", lambda row: row.memory_mb, "{:.0f}", key="memory_mb", priority=4),
            speedup("FLOPs", lambda row: row.flops_speedup, key="flops_speedup"),
            speedup("FLOPs over plain", lambda row: row.flops_over_plain, key="flops_over_plain", shown=False),
            speedup("measured", lambda row: row.measured_speedup, key="measured_speedup"),
            interval("measured", lambda row: row.ci),
            speedup("own", own("speedup"), key="over_plain"),
            interval("over_plain", own("ci")),
            Column("own / FLOPs", lambda row: row.measured_over_flops, "{:.2f}", key="measured_over_flops", priority=5),
            Column("removed", lambda row: row.removed_over_flops, "{:.2f}", key="removed_over_flops", priority=5),
            Column("p50 ms", entry("latency_ms", "p50"), "{:.1f}", key="latency_p50_ms", priority=4),
        ]

    def notes(self) -> list[str]:
        """What has to be known to read the table."""
        where, first = self.environment, self.models[0].name
        size = self.config.get("task", {}).get("batch_size", "?")
        notes = [
            f"Drops count from {first} in fp32, {100 * self.reference['metric']:.2f}, on the same "
            f"{self.test_examples} test examples; FLOPs and measured speedups from it as transformers runs it. "
            f"'own' is measured over {first} by latadj's engine in the same precision.",
            f"Where several speedups were asked for, the largest that lost at most {self.max_drop:g} points on "
            f"{self.validation_examples} validation examples was taken, before the test split was read.",
        ]
        whole = self.models[0].parameters
        if pruned := dict.fromkeys(row.name for row in self.models if row.parameters < whole):
            flattered = ", ".join(pruned)
            notes.append(f"Pruning was chosen on some of these examples, so drops on them flatter {flattered}.")
        if beyond := [row.key for row in self.models if not row.within]:
            notes.append(f"More than that was lost on validation text by {', '.join(beyond)}.")
        if counted := [row.key for row in self.models if row.target == "flops" and row.speedup > 1]:
            notes.append(
                f"'at' is counted in FLOPs for {', '.join(counted)}, and in measured time for other dials: what is not "
                "calibrated in a precision, by `latadj calibrate device.precision=`, has no marks in its time."
            )
        hard = {row.name: TopKAttention(tuple(row.topk_attention)) for row in self.models if row.topk_attention}
        notes += [f"Top-k attention in {name}: {chosen.text()}." for name, chosen in hard.items()]
        if self.left_out:
            notes.append(f"Left out, since this device does not compute in it: {', '.join(self.left_out)}.")
        return [*notes, measured_on(where, f"batch {size}", "length-sorted"), *warning(where)]


def markdown_of_task(comparisons: Sequence[Comparison]) -> str:
    """Comparisons of one task: the first as a table, with others that have what it lacks, then all in brief.

    What it may lack are models, and precisions of them; in brief are drop and own speedup in fp32 over all seeds.
    """
    first = comparisons[0]
    if len(comparisons) == 1:
        return first.document().markdown()
    names = [f"seed {comparison.config['seed']}" for comparison in comparisons]
    pages = [
        one.document(f"{_title(one)}, {name}").markdown()
        for one, name in zip(comparisons, names, strict=True)
        if not _compared(one) <= _compared(first)
    ]
    return "\n".join([first.document().markdown(), *pages, _seeds(comparisons, names).markdown()])


def _seeds(comparisons: Sequence[Comparison], seeds: Sequence[str]) -> Table:
    models = [{row.name: row for row in one.models if row.precision == "fp32"} for one in comparisons]
    rows = []
    for name in dict.fromkeys(name for rows_of_seed in models for name in rows_of_seed):
        of_seeds = [one.get(name) for one in models]  # a model may have been compared at some seeds only
        each = ["–" if row is None else _brief([row], one) for row, one in zip(of_seeds, comparisons, strict=True)]
        rows.append([name, *each, _brief([row for row in of_seeds if row is not None], comparisons[0])])
    title = "Drop in points (own speedup, share of the parameters) in fp32 over seeds of the whole recipe:"
    return Table.of_cells(title, ["model", *seeds, "mean"], rows, heading=False)


def _compared(comparison: Comparison) -> set[tuple[str, str]]:
    """Names of models, each with a precision."""
    return {(row.name, row.precision) for row in comparison.models}


def _brief(rows: Sequence[ModelRow], comparison: Comparison) -> str:
    """Mean drop of models, with the means of what makes up for it."""
    drop = 100 * sum(row.drop for row in rows) / len(rows)
    own = [row.over_plain.speedup for row in rows if row.over_plain is not None]
    faster = f"{sum(own) / len(own):.2f}x, " if own else ""
    whole = comparison.models[0].parameters
    return f"{drop:+.2f} ({faster}{sum(row.parameters for row in rows) / len(rows) / whole:.2f})"


def _title(comparison: Comparison) -> str:
    return f"{comparison.model} on {comparison.task}, {comparison.test_examples} test examples"
