"""What `latadj predict` did, on the terminal."""

from collections.abc import Callable
from typing import Any

from rich.table import Table

from latadj.utils.console import console


def print_predicted(result: dict[str, Any]) -> None:
    """Show what ``predict.json`` holds."""
    rows, deadline = result["rows"], result["deadline"]
    at = f"at {result['speedup']:g}x" if deadline is None else f"within {deadline['ms']:g} ms a batch"
    table = Table(title=f"{result['input']} {at}", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    add: Callable[..., None] = table.add_row
    add("rows read", f"{rows['read']:,}")
    add("written", f"{rows['written']:,}")
    add("broken, left out", f"{rows['broken']:,}")
    if result["texts_per_s"] is not None:
        add("texts a second", f"{result['texts_per_s']:,.0f}")
    if deadline is not None and deadline["batches"]:
        for name, which in {
            "met by the clock": "met",
            "predicted to be met, but late": "late",
            "beyond the largest speedup": "beyond",
        }.items():
            share = deadline[f"{which}_texts"] / deadline["texts"]
            add(name, f"{deadline[f'{which}_batches']:,} of {deadline['batches']:,} batches, {share:.1%} of the texts")
        mean = sum(float(speedup) * texts for speedup, texts in deadline["speedups"].items()) / deadline["texts"]
        add("mean speedup of a text", f"{mean:.2f}x")
    console.print(table)
