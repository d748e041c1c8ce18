"""`latadj eval` on the terminal."""

from typing import Any

from rich.table import Table

from latadj.inference.region_survival import RegionShares
from latadj.reporting.table import Document
from latadj.reporting.tables import regions as region_table
from latadj.utils.console import console


def print_evaluation(result: dict[str, Any]) -> None:
    """Print what ``eval.json`` holds."""
    if "ttft_ms" in result:
        _print_continuations(result)
        return
    _print_examples(result)
    if result["regions"] is not None:
        Document([region_table.table(RegionShares(**result["regions"]))]).print()


def _print_examples(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['model']} on {result['task']} at {result['speedup']:g}x", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95%", justify="right")
    for split, scores in result["scores"].items():
        for name, value in scores.items():
            low, high = result["metric_ci"][split]
            interval = f"{100 * low:.1f}–{100 * high:.1f}" if name == result["metric"] else ""
            table.add_row(f"{name} ({split})", f"{100 * value:.2f}", interval)
    for name, value in result["thresholds"].items():
        table.add_row(f"{name}, by validation", f"{value:.3f}", "")
    table.add_row("speedup asked for", f"{result['speedup']:.2f}x", f"in {result['target']}")
    if result["predicted"] is not None:
        table.add_row("predicted, over 1x", f"{result['predicted']:.2f}x", "")
    low, high = result["measured_ci"]
    table.add_row("measured, over 1x", f"{result['measured']:.2f}x", f"{low:.2f}–{high:.2f}")
    table.add_row("FLOPs, over the plain model", f"{result['flops_speedup']:.2f}x", "")
    for name, value in result["latency_ms"].items():
        table.add_row(f"latency {name}, batch 1", f"{value:.1f} ms", "")
    size = result["config"]["task"]["batch_size"]
    table.add_row(f"throughput, batch {size}", f"{result['throughput_per_s']:.0f}/s", "")
    console.print(table)


def _print_continuations(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['model']} on {result['task']} at {result['speedup']:g}x", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95%", justify="right")

    def add(name: str, value: str, ci: tuple[float, float] | None = None, form: str = ".2f") -> None:
        table.add_row(name, value, "" if ci is None else f"{ci[0]:{form}} to {ci[1]:{form}}")

    for split, scores in result["scores"].items():
        for name, value in scores.items():
            add(f"{name} ({split})", f"{value:.2f}", result["metric_ci"][split])
    add("increase, over the full model", f"{result['increase']:+.1%}", result["increase_ci"], "+.1%")
    add("speedup asked for", f"{result['speedup']:.2f}x, in {result['target']}")
    if result["predicted"] is not None:
        add("first token, predicted, over 1x", f"{result['predicted']:.2f}x")
    add("first token, over 1x", f"{result['ttft_own']:.2f}x", result["ttft_own_ci"])
    add("first token, over the plain model", f"{result['ttft_speedup']:.2f}x", result["ttft_ci"])
    add("FLOPs of the prefill, over the plain model", f"{result['flops_speedup']:.2f}x")
    for name, value in result["ttft_percentiles_ms"].items():
        add(f"first token {name}", f"{value:.1f} ms")
    add("decoding", f"{result['decode_tokens_per_s']:.1f} tokens/s")
    add("decoding, over the plain model", f"{result['decode_speedup']:.2f}x", result["decode_ci"])
    add("cache, of the plain model's", f"{result['cache_bytes_ratio']:.0%}")
    console.print(table)
