"""A sweep of a generation task to look at: rich for the terminal, Markdown and CSV for files."""

import csv
import io
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from latadj.reporting.cells import between, table_line, times
from latadj.reporting.results.generation import GenerationRow, GenerationSweep
from latadj.reporting.results.sweep import CONTROLS
from latadj.utils.console import console

# Header and rows.
Columns = tuple[list[str], list[list[str]]]

_FIELDS = (
    *("speedup", "profile_type", "metric", "metric_ci", "increase", "increase_ci", "flops_speedup", "predicted"),
    *("ttft_speedup", "ttft_ci", "ttft_own", "ttft_own_ci", "ttft_ms", "decode_tokens_per_s", "decode_speedup"),
    *("decode_ci", "cache_bytes", "cache_bytes_ratio"),
)


def print_generation(sweep: GenerationSweep) -> None:
    """Show a sweep on the terminal: what it costs in quality, then what the clock shows."""
    asked = [row.name for row in sweep.rows]
    for title, (header, rows) in _groups(sweep).items():
        look: dict[str, Any] = {"box": SIMPLE_HEAD, "pad_edge": False, "collapse_padding": True}  # 80 characters
        table = Table(title=title, title_justify="left", **look)
        for name in ("asked", *header):
            table.add_column(name, justify="right", no_wrap=True)
        for name, row in zip(asked, rows, strict=True):
            table.add_row(name, *row)
        console.print(table)
    console.print(_caption(sweep), highlight=False, markup=False)


def generation_markdown(sweep: GenerationSweep) -> str:
    """A sweep as a Markdown document, all columns in one table."""
    groups = _groups(sweep).values()
    header = ["asked", *(name for names, _ in groups for name in names)]
    lines = [f"### {_title(sweep)}", "", table_line(header), "|" + " ---: |" * len(header)]
    for place, row in enumerate(sweep.rows):
        lines.append(table_line([row.name, *(cell for _, rows in groups for cell in rows[place])]))
    return "\n".join([*lines, "", _caption(sweep), ""])


def generation_csv(sweep: GenerationSweep) -> str:
    """A sweep as CSV, one row a speedup, numbers unrounded; what was not measured is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = [part for name in _FIELDS for part in _parts(name)]
    writer.writerow([*header, "keep", *CONTROLS, *(f"over_{name}" for name in CONTROLS)])
    for row in sweep.rows:
        cells: list[Any] = []
        for name in _FIELDS:
            value = getattr(row, name)
            cells += (value or ("", "")) if name.endswith("_ci") else ["" if value is None else value]
        cells.append(" ".join(f"{ratio:.4f}" for ratio in row.keep))
        cells += [found.get(name, "") for found in (row.controls, row.over_controls) for name in CONTROLS]
        writer.writerow(cells)
    return out.getvalue()


def _groups(sweep: GenerationSweep) -> dict[str, Columns]:
    """The columns that belong together, by title."""
    if not sweep.timed:
        return {_title(sweep): _quality(sweep), "Cost of the prefill": (["FLOPs"], [_cost(row) for row in sweep.rows])}
    first = ["FLOPs", "predicted", "TTFT ms", "vs plain", "95%", "vs 1x", "95%"]
    return {
        _title(sweep): _quality(sweep),
        "Time to first token, one prompt at a time": (first, [_first_token(row) for row in sweep.rows]),
        "Decoding after that prompt": (
            ["tokens/s", "vs plain", "95%", "cache"],
            [_decoding(row) for row in sweep.rows],
        ),
    }


def _quality(sweep: GenerationSweep) -> Columns:
    shown = [name for name in CONTROLS if any(name in row.controls for row in sweep.rows)]
    return ["perplexity", "95%", "increase", "95%", *shown], [
        [
            f"{row.metric:.2f}",
            between(row.metric_ci, ".2f"),
            f"{row.increase:+.1%}",
            between(row.increase_ci, "+.1%", " to "),
            *(f"{row.controls[name]:.2f}" if name in row.controls else "" for name in shown),
        ]
        for row in sweep.rows
    ]


def _cost(row: GenerationRow) -> list[str]:
    return [f"{row.flops_speedup:.2f}x"]


def _first_token(row: GenerationRow) -> list[str]:
    return [
        *_cost(row),
        times(row.predicted),
        f"{row.ttft_ms:.1f}",
        *(times(row.ttft_speedup), between(row.ttft_ci, ".2f")),
        *(times(row.ttft_own), between(row.ttft_own_ci, ".2f")),
    ]


def _decoding(row: GenerationRow) -> list[str]:
    return [
        f"{row.decode_tokens_per_s:.1f}",
        *(times(row.decode_speedup), between(row.decode_ci, ".2f")),
        f"{row.cache_bytes_ratio:.0%}",
    ]


def _title(sweep: GenerationSweep) -> str:
    return (
        f"{sweep.model} on {sweep.task}, {sweep.test_examples} prompts of {sweep.prompt_length:.0f} tokens "
        f"out of {sweep.documents} documents, {sweep.continuation_length:.0f} tokens scored after each"
    )


def _caption(sweep: GenerationSweep) -> str:
    where = sweep.environment
    parts = [
        f"Plain model {sweep.plain_metric:.2f}, this checkpoint at 1x {sweep.baseline_metric:.2f}; increases count "
        "from the better one. Controls cut as much at the same places, by another score."
    ]
    if sweep.timed:
        parts.append(
            f"Plain model under {where.get('attention', 'sdpa')}: first token after {sweep.plain_ttft_ms:.1f} ms, "
            f"{sweep.plain_tokens_per_s:.1f} tokens/s, cache {(sweep.plain_cache_bytes or 0) / 2**20:.1f} MiB."
        )
    parts.append(f"{where['processor']}, {where['threads']} threads, {where['precision']}.")
    if sweep.unreachable:
        left = ", ".join(f"{speedup:g}x" for speedup in sweep.unreachable)
        parts.append(f"Out of reach on this device: {left}; the dial ends at {sweep.reach or 0:.2f}x.")
    warning = (where.get("quiet") or {}).get("warning")
    return " ".join([*parts, *([f"Warning: {warning}."] if warning else [])])


def _parts(name: str) -> list[str]:
    """Columns of a field: an interval has two."""
    base = name.removesuffix("_ci")
    return [f"{base}_low", f"{base}_high"] if name.endswith("_ci") else [name]
