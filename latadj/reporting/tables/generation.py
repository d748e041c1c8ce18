"""Sweeps of generation tasks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.sweep import CONTROLS
from latadj.reporting.table import Column, Document, Table, entry, interval, speedup
from latadj.reporting.tables.environment import measured_on, out_of_reach, warning
from latadj.reporting.tables.sweep import FLOPS, PREDICTED, SPEEDUP


def document(sweep: GenerationSweep) -> Document:
    """All columns in one table."""
    columns = [SPEEDUP, *quality_columns(sweep), *_prefill(sweep), *_decoding(sweep), *_csv_only()]
    return Document([Table(_title(sweep), columns, sweep.rows, " ".join(_notes(sweep)))])


def terminal(sweep: GenerationSweep) -> Document:
    """What it costs in quality, then what the clock shows, each in a table that eighty characters hold."""
    parts = {_title(sweep): quality_columns(sweep)}
    if sweep.timed:
        parts["Time to first token, one prompt at a time"] = _prefill(sweep)
        parts["Decoding after that prompt"] = _decoding(sweep)
    else:
        parts["Cost of the prefill"] = _prefill(sweep)
    tables = [Table(title, [SPEEDUP, *columns], sweep.rows) for title, columns in parts.items()]
    tables[-1].note = " ".join(_notes(sweep))
    return Document(tables)


def quality_columns(sweep: GenerationSweep) -> list[Column]:
    """Perplexity and its increase with their intervals, and the controls."""
    shown = {name for row in sweep.rows for name in row.controls}
    return [
        Column("perplexity", lambda row: row.metric, "{:.2f}", key="metric"),
        interval("metric", lambda row: row.metric_ci, priority=0),
        Column("increase", lambda row: row.increase, "{:+.1%}", key="increase"),
        interval("increase", lambda row: row.increase_ci, "{:+.1%}", " to ", priority=0),
        *(Column(name, entry("controls", name), "{:.2f}", key=name, shown=name in shown) for name in CONTROLS),
    ]


def own_columns(sweep: GenerationSweep) -> list[Column]:
    """Time to first token over the dial's own speedup 1."""
    return [
        speedup("vs 1x", lambda row: row.ttft_own, key="ttft_own", shown=sweep.timed),
        interval("ttft_own", lambda row: row.ttft_own_ci, shown=sweep.timed, priority=0),
    ]


def clock_columns(sweep: GenerationSweep) -> list[Column]:
    """Time to first token over the plain model, then decoding and cache."""
    return [*_first_token(sweep), *_decoding(sweep)]


def _first_token(sweep: GenerationSweep) -> list[Column]:
    timed = sweep.timed
    return [
        Column("TTFT ms", lambda row: row.ttft_ms, "{:.1f}", key="ttft_ms", shown=timed),
        speedup("vs plain", lambda row: row.ttft_speedup, key="ttft_speedup", shown=timed),
        interval("ttft", lambda row: row.ttft_ci, shown=timed, priority=0),
    ]


def _prefill(sweep: GenerationSweep) -> list[Column]:
    predicted = replace(PREDICTED, shown=sweep.timed, priority=0)
    return [FLOPS, predicted, *_first_token(sweep), *own_columns(sweep)]


def _decoding(sweep: GenerationSweep) -> list[Column]:
    timed = sweep.timed
    return [
        Column("tokens/s", lambda row: row.decode_tokens_per_s, "{:.1f}", key="decode_tokens_per_s", shown=timed),
        speedup("vs plain", lambda row: row.decode_speedup, key="decode_speedup", shown=timed),
        interval("decode", lambda row: row.decode_ci, shown=timed, priority=0),
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
