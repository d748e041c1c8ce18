"""The result of `latadj sweep` on a generation task."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from latadj.reporting.results.base import measured_on, out_of_reach, warning
from latadj.reporting.results.by_length import by_length_tables
from latadj.reporting.results.dial_sweep import (
    CONTROLS,
    FLOPS,
    PREDICTED,
    SPEEDUP,
    DialRow,
    DialSweep,
    Measured,
    width_column,
)
from latadj.reporting.table import Column, Document, Table, entry, interval, speedup

if TYPE_CHECKING:  # a report is made of files, without torch
    from latadj.benchmark.generation_timer import GenerationTimes

# What is timed, beside the speedups: transformers' own forward, and the dial's own speedup 1.
PLAIN, OWN = "plain", "1x"
# Where the worst perplexity is so many times the full model's, a linear axis would flatten what matters.
LOGARITHMIC_FROM = 3.0

Interval = tuple[float, float]


@dataclass(kw_only=True)
class GenerationRow(DialRow):
    """One position of the dial of a language model. What the clock shows is None where it was left out.

    metric : perplexity of the continuations
    increase : of perplexity over the better full model's; 0.05 = 5% more
    over_controls : increase of perplexity over each control's; below 0 = better than it
    ttft_speedup : time to first token over the plain model's, one prompt at a time; ``ttft_ms`` is its median
    ttft_own : the same over the dial's own speedup 1
    decode_speedup : of decoding steps after that prompt, over the plain model's
    cache_bytes : keys and values after the prefill of a prompt, and their share of the plain model's
    """

    metric_ci: Interval
    increase: float
    increase_ci: Interval
    controls_ci: dict[str, Interval] = field(default_factory=dict)
    over_controls: dict[str, float] = field(default_factory=dict)
    over_controls_ci: dict[str, Interval] = field(default_factory=dict)
    ttft_speedup: float | None = None
    ttft_ci: Interval | None = None
    ttft_own: float | None = None
    ttft_own_ci: Interval | None = None
    ttft_ms: float | None = None
    decode_tokens_per_s: float | None = None
    decode_speedup: float | None = None
    decode_ci: Interval | None = None
    cache_bytes: float | None = None
    cache_bytes_ratio: float | None = None

    def timed(self) -> dict[str, float | None]:
        return {"measured_speedup": self.ttft_speedup, "ms": self.ttft_ms}

    @property
    def loss(self) -> tuple[float, Interval]:
        """What is lost against the better full model, with its interval; positive = worse."""
        return self.increase, self.increase_ci

    @property
    def over_own(self) -> Measured | None:
        """Time to first token over the dial's own speedup 1."""
        return None if self.ttft_own is None or self.ttft_own_ci is None else Measured(self.ttft_own, self.ttft_own_ci)

    @property
    def over_full(self) -> Measured | None:
        """Time to first token over the plain model."""
        return None if self.ttft_speedup is None or self.ttft_ci is None else Measured(self.ttft_speedup, self.ttft_ci)

    def clock(self, times: "GenerationTimes", seed: int) -> None:
        """Fill in what the clock showed; ``PLAIN`` and ``OWN`` are among what was timed."""
        from latadj.benchmark.timer import speedup

        first, decoding, bytes_of = times.first_token, times.decoding, times.cache_bytes
        over_plain = speedup(first[PLAIN], first[self.name], seed)
        over_own = speedup(first[OWN], first[self.name], seed)
        steps = speedup(decoding[PLAIN], decoding[self.name], seed)
        self.ttft_speedup, self.ttft_ci = over_plain.median, (over_plain.low, over_plain.high)
        self.ttft_own, self.ttft_own_ci = over_own.median, (over_own.low, over_own.high)
        self.ttft_ms = 1000 * float(np.median(first[self.name]))
        self.decode_tokens_per_s = times.tokens_per_s(self.name)
        self.decode_speedup, self.decode_ci = steps.median, (steps.low, steps.high)
        self.cache_bytes = float(np.mean(bytes_of[self.name]))
        self.cache_bytes_ratio = sum(bytes_of[self.name]) / sum(bytes_of[PLAIN])


@dataclass(kw_only=True)
class GenerationSweep(DialSweep):
    """Everything `latadj sweep` found on a generation task.

    plain_metric : where the plain fine-tuned model is not kept, of the checkpoint as transformers runs it
    test_examples, documents : how many prompts were scored, and out of how many documents
    prompt_length, continuation_length : mean tokens of the test examples
    plain_ttft_ms, plain_tokens_per_s, plain_cache_bytes : of the checkpoint as transformers runs it
    samples_s : raw seconds, ``ttft`` or ``decode`` -> variant -> rounds -> prompts
    """

    SCHEMA: ClassVar[str] = "latadj.sweep.generation/2"
    FULL = "time to first token of the plain model"

    greater_is_better: bool = False
    plain_metric: float
    documents: int
    prompt_length: float
    continuation_length: float
    rows: list[GenerationRow]
    plain_ttft_ms: float | None = None
    plain_tokens_per_s: float | None = None
    plain_cache_bytes: float | None = None
    samples_s: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)

    def timed_batches(self) -> dict[str, list[list[float]]]:
        return self.samples_s.get("ttft", {})

    def check(self) -> None:
        super().check()
        if not self.samples_s:
            return
        timed = self.timed_batches()
        if missing := [name for name in (PLAIN, *(row.name for row in self.rows)) if name not in timed]:
            raise ValueError(f"samples_s.ttft: nothing of {missing[0]}")
        if any(len(timed[row.name][0]) != len(timed[PLAIN][0]) for row in self.rows):
            raise ValueError("samples_s.ttft: not all speedups ran the same prompts")

    def clock(self, times: "GenerationTimes", seed: int) -> None:
        """Fill in what the clock showed of the plain model and of every row."""
        self.plain_ttft_ms = 1000 * float(np.median(times.first_token[PLAIN]))
        self.plain_tokens_per_s = times.tokens_per_s(PLAIN)
        self.plain_cache_bytes = float(np.mean(times.cache_bytes[PLAIN]))
        self.samples_s = {
            part: {name: seconds.tolist() for name, seconds in samples.items()}
            for part, samples in (("ttft", times.first_token), ("decode", times.decoding))
        }
        for row in self.rows:
            row.clock(times, seed)

    def document(self) -> Document:
        """All columns in one table."""
        columns = [SPEEDUP, *self.quality_columns(), *_prefill(self), *_decoding(self), *_csv_only()]
        table = Table(_title(self), columns, self.rows, " ".join(_notes(self)))
        return Document([table, *self.by_length()], self.length_warnings())

    def csv_table(self) -> Table:
        return self.document().tables[0]

    def by_length(self) -> list[Table]:
        return by_length_tables(self.groups(), "increase of perplexity", "{:+.1%}".format)

    def terminal(self) -> Document:
        """What it costs in quality, then what the clock shows, each in a table that eighty characters hold."""
        parts = {_title(self): self.quality_columns()}
        if self.timed:
            parts["Time to first token, one prompt at a time"] = _prefill(self)
            parts["Decoding after that prompt"] = _decoding(self)
        else:
            parts["Cost of the prefill"] = _prefill(self)
        tables = [Table(title, [SPEEDUP, *columns], self.rows) for title, columns in parts.items()]
        tables[-1].note = " ".join(_notes(self))
        return Document([*tables, *self.by_length()], self.length_warnings())

    def quality_columns(self) -> list[Column]:
        """Perplexity and its increase with their intervals, and the controls."""
        shown = {name for row in self.rows for name in row.controls}
        return [
            Column("perplexity", lambda row: row.metric, "{:.2f}", key="metric"),
            interval("metric", lambda row: row.metric_ci, priority=0),
            Column("increase", lambda row: row.increase, "{:+.1%}", key="increase"),
            interval("increase", lambda row: row.increase_ci, "{:+.1%}", " to ", priority=0),
            *(Column(name, entry("controls", name), "{:.2f}", key=name, shown=name in shown) for name in CONTROLS),
        ]

    def own_columns(self) -> list[Column]:
        """Time to first token over the dial's own speedup 1."""
        return [
            speedup("vs 1x", lambda row: row.ttft_own, key="ttft_own", shown=self.timed),
            interval("ttft_own", lambda row: row.ttft_own_ci, shown=self.timed, priority=0),
        ]

    def clock_columns(self) -> list[Column]:
        """Time to first token over the plain model, then decoding and cache."""
        return [*_first_token(self), *_decoding(self)]


def _first_token(sweep: GenerationSweep) -> list[Column]:
    timed = sweep.timed
    return [
        Column("TTFT ms", lambda row: row.ttft_ms, "{:.1f}", key="ttft_ms", shown=timed),
        speedup("vs plain", lambda row: row.ttft_speedup, key="ttft_speedup", shown=timed),
        interval("ttft", lambda row: row.ttft_ci, shown=timed, priority=0),
    ]


def _prefill(sweep: GenerationSweep) -> list[Column]:
    predicted = replace(PREDICTED, shown=sweep.timed, priority=0)
    return [FLOPS, predicted, *_first_token(sweep), *sweep.own_columns()]


def _decoding(sweep: GenerationSweep) -> list[Column]:
    timed = sweep.timed
    return [
        Column("tokens/s", lambda row: row.decode_tokens_per_s, "{:.1f}", key="decode_tokens_per_s", shown=timed),
        speedup("vs plain", lambda row: row.decode_speedup, key="decode_speedup", shown=timed),
        interval("decode", lambda row: row.decode_ci, shown=timed, priority=0),
        width_column(sweep.rows),
        Column("cache", lambda row: row.cache_bytes_ratio, "{:.0%}", key="cache_bytes_ratio", shown=timed),
    ]


def _csv_only() -> list[Column]:
    columns: dict[str, Callable[[Any], Any]] = {
        "profile_type": lambda row: row.profile_type,
        "cache_bytes": lambda row: row.cache_bytes,
        "keep": lambda row: " ".join(f"{ratio:.4f}" for ratio in row.keep),
        **{f"over_{name}": entry("over_controls", name) for name in CONTROLS},
    }
    return [Column(key, get, key=key, shown=False) for key, get in columns.items()]


def _title(sweep: GenerationSweep) -> str:
    return (
        f"{sweep.model} on {sweep.task}, {sweep.test_examples} prompts of {sweep.prompt_length:.0f} tokens "
        f"out of {sweep.documents} documents, {sweep.continuation_length:.0f} tokens scored after each"
    )


def _notes(sweep: GenerationSweep) -> list[str]:
    where = sweep.environment
    notes = [
        f"Plain model {sweep.plain_metric:.2f}, this checkpoint at 1x {sweep.baseline_metric:.2f}; increases count "
        "from the better one. Controls cut as much at the same places, by another score."
    ]
    if sweep.timed:
        notes.append(
            f"Plain model under {where.get('attention', 'sdpa')}: first token after {sweep.plain_ttft_ms:.1f} ms, "
            f"{sweep.plain_tokens_per_s:.1f} tokens/s, cache {(sweep.plain_cache_bytes or 0) / 2**20:.1f} MiB."
        )
    notes.append(measured_on(where, where["precision"]))
    return [*notes, *out_of_reach(sweep.unreachable, sweep.reach), *warning(where)]
