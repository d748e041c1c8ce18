"""What ``benchmarks/predict.py`` measured."""

from typing import Any

from latadj.reporting.results.base import measured_on, warning
from latadj.reporting.table import Column, Document, Table, speedup

SCHEMA = "latadj.predict-benchmark/1"


def document(result: dict[str, Any]) -> Document:
    """Texts a second of each pipeline and by how much `predict` is ahead, or peaks of memory."""
    where = result["environment"]
    device = measured_on(where, where["precision"])
    if "peak_bytes" in result:
        note = f"{result['ratio']:.3f} times the memory for the longer file. {device}"
        columns = [
            Column("lines", lambda row: int(row[0]), "{:,}"),
            Column("peak, MiB", lambda row: row[1] / 2**20, "{:.0f}"),
        ]
        return Document([Table("", columns, list(result["peak_bytes"].items()), note)])
    rates = [
        Column("pipeline", lambda row: row[0], left=True),
        Column("texts/s", lambda row: row[1], "{:.0f}"),
        Column("batch size", lambda row: result["tried"].get(row[0], {}).get("best", result["batch_size"])),
    ]
    ratios = [
        Column("how much faster", lambda row: row[0], left=True),
        speedup("median of the chunks", lambda row: row[1]["median"]),
        Column("95%", lambda row: (row[1]["low"], row[1]["high"]), "{:.2f}", between="–"),
    ]
    note = f"{result['sentences']:,} review sentences in turns of {result['chunk']:,}. {device}"
    return Document(
        [
            Table("", rates, list(result["texts_per_s"].items())),
            Table("", ratios, list(result["ratios"].items()), " ".join([note, *warning(where)])),
        ]
    )
