"""What ``benchmarks/predict.py`` found, as tables."""

from typing import Any

SCHEMA = "latadj.predict-benchmark/1"


def markdown(found: dict[str, Any]) -> str:
    """Texts a second of every contestant and by how much `predict` is ahead, or peaks of memory."""
    where = found["environment"]
    device = f"{where['processor']}, {where['threads']} threads, {where['precision']}."
    if "peak_bytes" in found:
        lines = ["| lines | peak, MiB |", "| ---: | ---: |"]
        lines += [f"| {int(count):,} | {peak / 2**20:.0f} |" for count, peak in found["peak_bytes"].items()]
        return "\n".join([*lines, "", f"{found['ratio']:.3f} times the memory for the longer file. {device}", ""])
    lines = ["| contestant | texts/s | batch size |", "| :--- | ---: | ---: |"]
    for name, rate in found["texts_per_s"].items():
        size = found["tried"].get(name, {}).get("best", found["batch_size"])
        lines.append(f"| {name} | {rate:.0f} | {size} |")
    lines += ["", "| how much faster | median of the chunks | 95% |", "| :--- | ---: | ---: |"]
    for name, ratio in found["ratios"].items():
        lines.append(f"| {name} | {ratio['median']:.2f}x | {ratio['low']:.2f}–{ratio['high']:.2f} |")
    quiet = (where.get("quiet") or {}).get("warning")
    told = f"{found['sentences']:,} review sentences in turns of {found['chunk']:,}. {device}"
    return "\n".join([*lines, "", told + (f" Warning: {quiet}." if quiet else ""), ""])
