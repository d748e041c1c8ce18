"""What `latadj predict` did."""

from typing import Any

from latadj.reporting.table import Document, Table

DEADLINES = {"met by the clock": "met", "predicted to be met, but late": "late", "beyond the largest speedup": "beyond"}


def document(result: dict[str, Any]) -> Document:
    """What ``predict.json`` holds."""
    rows, deadline = result["rows"], result["deadline"]
    at = f"at {result['speedup']:g}x" if deadline is None else f"within {deadline['ms']:g} ms a batch"
    lines = [
        ["rows read", f"{rows['read']:,}"],
        ["written", f"{rows['written']:,}"],
        ["broken, left out", f"{rows['broken']:,}"],
    ]
    if result["texts_per_s"] is not None:
        lines.append(["texts a second", f"{result['texts_per_s']:,.0f}"])
    if deadline is not None and deadline["batches"]:
        for name, which in DEADLINES.items():
            batches, texts = deadline[f"{which}_batches"], deadline[f"{which}_texts"] / deadline["texts"]
            lines.append([name, f"{batches:,} of {deadline['batches']:,} batches, {texts:.1%} of the texts"])
        mean = sum(float(speedup) * texts for speedup, texts in deadline["speedups"].items()) / deadline["texts"]
        lines.append(["mean speedup of a text", f"{mean:.2f}x"])
    return Document([Table.of_cells(f"{result['input']} {at}", ["", ""], lines, show_header=False)])
