"""Sections about single batches and texts: the slowest, and those whose prediction changed."""

import numpy as np
from markupsafe import Markup

from latadj.reporting.html.changed import GAINED, LOST, MOST, OTHER, counts, worst
from latadj.reporting.html.charts import Series, line_chart
from latadj.reporting.html.page import Section, missing, note, render, spread, table
from latadj.reporting.html.sources import PREDICTIONS, Sources
from latadj.reporting.results.generation import PLAIN, GenerationSweep
from latadj.reporting.results.sweep import Sweep

SLOWEST = 8
MOST_SPEEDUPS = 5
WORDS = {LOST: "right → wrong", GAINED: "wrong → right", OTHER: "wrong → wrong"}
NUMBERS = {LOST: "further from the label", GAINED: "nearer to it"}


def slowest(sources: Sources) -> Section:
    """The batches, or prompts, that took longest."""
    title = "The slowest batches" if not isinstance(sources.sweep, GenerationSweep) else "The slowest prompts"
    sweep = sources.sweep
    if sweep is None or not sweep.samples_s:
        return Section("slowest", title, missing("Nothing was timed in this folder.", "latadj sweep"))
    if isinstance(sweep, GenerationSweep):
        samples, full, lengths, texts = sweep.samples_s["ttft"], PLAIN, list[int](), list[int]()
        what, intro = "prompt", "Median milliseconds to the first token of each timed prompt."
    else:
        samples, full = sweep.samples_s, "bucketed"
        lengths, texts = (counts.get(full, []) for counts in (sweep.batch_lengths, sweep.batch_texts))
        what, intro = "batch", _percentiles(sweep)
    speedups = spread([f"{speedup:g}x" for speedup in sorted(row.speedup for row in sweep.rows)], MOST_SPEEDUPS)
    milliseconds = {name: 1000 * np.median(np.asarray(samples[name]), axis=0) for name in (full, *speedups)}
    order = np.argsort(-milliseconds[full], kind="stable")[:SLOWEST]
    about = {"tokens at most": lengths, "texts": texts}
    head = [what, *(name for name, values in about.items() if values), "full model, ms"]
    head += [f"{name}, ms" for name in speedups]
    rows = [
        [
            str(place + 1),
            *(str(values[place]) for values in about.values() if values),
            *(f"{values[place]:.1f}" for values in milliseconds.values()),
        ]
        for place in order
    ]
    shown = table(head, rows, numbers=set(range(len(head))), caption=f"Slowest {what} first")
    return Section("slowest", title, note(intro) + _by_length(milliseconds, lengths, texts, full) + shown)


def _percentiles(sweep: Sweep) -> str:
    size = sweep.config.get("task", {}).get("batch_size", "?")
    percentiles = ", ".join(
        f"{row.speedup:g}x {row.latency_ms['p50']:.1f} and {row.latency_ms['p95']:.1f}"
        for row in sorted(sweep.rows, key=lambda row: row.speedup)
        if row.latency_ms
    )
    return f"Batches of {size} texts of like length. Milliseconds a batch, p50 and p95: {percentiles}."


def _by_length(milliseconds: dict[str, np.ndarray], lengths: list[int], texts: list[int], full: str) -> Markup:
    """Time against length of the batches that are full, where there are several lengths."""
    whole = [place for place, count in enumerate(texts) if count == max(texts)]
    order = sorted(whole, key=lambda place: lengths[place])
    if len({lengths[place] for place in order}) < 3:
        return Markup()
    x = [float(lengths[place]) for place in order]
    slow = max(values.max() for values in milliseconds.values()) >= 1000
    unit = 1000 if slow else 1  # four digits would meet the axis's name on a phone
    series = [
        Series(
            "full model" if name == full else name,
            x,
            [float(values[place]) / unit for place in order],
            dashed=name == full,
        )
        for name, values in milliseconds.items()
    ]
    return line_chart(
        series,
        title="time of a batch against the length of its longest text",
        x_label="tokens of a batch's longest text",
        y_label="seconds a batch" if slow else "milliseconds a batch",
        caption="" if len(whole) == len(texts) else "Without the last batch, which holds fewer texts.",
    )


def changed(sources: Sources) -> Section:
    """Texts whose prediction at a speedup is not the full model's, to be filtered in the page."""
    title = "Changed predictions"
    if isinstance(sources.sweep, GenerationSweep):
        return Section("changed", title, note("A generation task is scored by perplexity and has no predictions."))
    if sources.changed is None:
        why = sources.left_out.get(PREDICTIONS, "is not there")
        return Section("changed", title, missing(f"{PREDICTIONS} {why}.", "latadj sweep"))
    if not sources.changed:
        return Section("changed", title, note("No prediction changed at any speedup."))
    numbers = all(answer.probability is None for answer in sources.changed[0].answers)
    words = NUMBERS if numbers else WORDS
    changes = counts(sources.changed)
    speedups = [speedup for speedup, row in changes.items() if any(row.values())]
    rows = [[f"{speedup}x", *(str(changes[speedup][kind]) for kind in words)] for speedup in speedups]
    head = ["speedup", *words.values()]
    shown = table(head, rows, numbers=set(range(len(head))), caption="How many changed")
    some = worst(sources.changed)
    first = "what moved furthest first" if numbers else "the most confident of each kind first"
    intro = f"{len(some)} of {len(sources.changed)} examples that changed at some speedup, at most {MOST}, {first}."
    items = render("changed.html", examples=some, speedups=speedups, words=words, numbers=numbers)
    return Section("changed", title, shown + note(intro) + items)
