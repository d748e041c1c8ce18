"""Models side by side, each in every precision."""

from collections.abc import Callable, Sequence
from typing import Any

from latadj.elimination.topk.setting import TopKAttention
from latadj.reporting.results.comparison import Comparison, ModelRow
from latadj.reporting.table import Column, Document, Table, entry, interval, speedup
from latadj.reporting.tables.environment import measured_on, warning


def document(comparison: Comparison, title: str | None = None) -> Document:
    """A row for each model and precision."""
    table = Table(title or _title(comparison), columns(comparison), comparison.models)
    first = comparison.models[0].name
    removed = f"'removed' is the share of {first}'s time that is gone by that measure, over the share of its FLOPs."
    return Document([table], [*notes(comparison), removed])


def terminal(comparison: Comparison) -> Document:
    """As much of it as the terminal holds."""
    return Document(document(comparison).tables, notes(comparison))


def columns(comparison: Comparison) -> list[Column]:
    """Of a comparison's models."""

    def own(name: str) -> Callable[[ModelRow], Any]:
        return lambda row: None if row.over_plain is None else getattr(row.over_plain, name)

    return [
        Column("model", lambda row: row.name, key="name", left=True),
        Column("precision", lambda row: row.precision, key="precision", left=True),
        Column("at", lambda row: row.speedup, "{:g}x", key="speedup"),
        Column("target", lambda row: row.target, key="target", shown=False),
        Column("validation drop", lambda row: row.tried[-1].drop, "{:+.2f}", 100, key="validation_drop", priority=5),
        Column(comparison.metric, lambda row: row.metric, "{:.2f}", 100, key="metric"),
        interval("metric", lambda row: row.metric_ci, "{:.1f}", scale=100),
        Column("drop, points", lambda row: row.drop, "{:+.2f}", 100, key="drop"),
        interval("drop", lambda row: row.drop_ci, "{:+.2f}", " to ", scale=100),
        Column("params", lambda row: row.parameters, lambda count: f"{count / 1e6:.2f}M", key="parameters"),
        Column("all parameters", lambda row: row.parameters_total, key="parameters_total", shown=False),
        Column("file MB", lambda row: row.file_bytes, lambda size: f"{size / 1e6:.1f}", key="file_bytes", priority=4),
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


def markdown_of_task(comparisons: Sequence[Comparison]) -> str:
    """Comparisons of one task: the first as a table, with others that have what it lacks, then all in brief.

    What it may lack are models, and precisions of them; in brief are drop and own speedup in fp32 over all seeds.
    """
    first = comparisons[0]
    if len(comparisons) == 1:
        return document(first).markdown()
    names = [f"seed {comparison.config['seed']}" for comparison in comparisons]
    pages = [
        document(one, f"{_title(one)}, {name}").markdown()
        for one, name in zip(comparisons, names, strict=True)
        if not _compared(one) <= _compared(first)
    ]
    return "\n".join([document(first).markdown(), *pages, _seeds(comparisons, names).markdown()])


def _seeds(comparisons: Sequence[Comparison], seeds: Sequence[str]) -> Table:
    models = [{row.name: row for row in one.models if row.precision == "fp32"} for one in comparisons]
    rows = []
    for name in dict.fromkeys(name for found in models for name in found):
        found = [one.get(name) for one in models]  # a model may have been compared at some seeds only
        each = ["–" if row is None else _brief([row], one) for row, one in zip(found, comparisons, strict=True)]
        rows.append([name, *each, _brief([row for row in found if row is not None], comparisons[0])])
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


def notes(comparison: Comparison) -> list[str]:
    """What has to be known to read the table."""
    where, first = comparison.environment, comparison.models[0].name
    size = comparison.config.get("task", {}).get("batch_size", "?")
    found = [
        f"Drops count from {first} in fp32, {100 * comparison.reference['metric']:.2f}, on the same "
        f"{comparison.test_examples} test examples; FLOPs and measured speedups from it as transformers runs it. "
        f"'own' is measured over {first} by latadj's engine in the same precision.",
        f"Where several speedups were asked for, the largest that lost at most {comparison.max_drop:g} points on "
        f"{comparison.validation_examples} validation examples was taken, before the test split was read.",
    ]
    whole = comparison.models[0].parameters
    if pruned := dict.fromkeys(row.name for row in comparison.models if row.parameters < whole):
        flattered = ", ".join(pruned)
        found.append(f"Pruning was judged by some of these examples, so that drops on them flatter {flattered}.")
    if beyond := [row.key for row in comparison.models if not row.within]:
        found.append(f"More than that was lost on validation text by {', '.join(beyond)}.")
    if counted := [row.key for row in comparison.models if row.target == "flops" and row.speedup > 1]:
        found.append(
            f"'at' is counted in FLOPs for {', '.join(counted)}, and in measured time for other dials: what is not "
            "calibrated in a precision, by `latadj calibrate device.precision=`, has no marks in its time."
        )
    hard = {row.name: TopKAttention(tuple(row.topk_attention)) for row in comparison.models if row.topk_attention}
    found += [f"Selective hard attention in {name}: {chosen.text()}." for name, chosen in hard.items()]
    if comparison.left_out:
        found.append(f"Left out, since this device does not compute in it: {', '.join(comparison.left_out)}.")
    return [*found, measured_on(where, f"batch {size}", "length-sorted"), *warning(where)]


def _title(comparison: Comparison) -> str:
    return f"{comparison.model} on {comparison.task}, {comparison.test_examples} test examples"
