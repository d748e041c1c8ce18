"""Sections about how the numbers came to be: training, evaluation, machine, config, files."""

import json
from typing import Any

from markupsafe import Markup

from latadj.reporting.html.page import Section, details, facts, flat, note, table
from latadj.reporting.html.sources import FILES, MISSING, Sources


def training(sources: Sources) -> Section | None:
    """Validation metrics of each stage of fine-tuning; None where there are none."""
    stages = {name: result for name, result in (sources.finetune or {}).get("validation", {}).items() if result}
    if not stages:
        return None
    pairs = {
        name: ", ".join(
            f"{key.removeprefix('eval_').replace('_', ' ')} {value:.4g}"
            for key, value in result.items()
            if key != "seconds"
        )
        + (f"; {result['seconds']:.0f} s" if "seconds" in result else "")
        for name, result in stages.items()
    }
    return Section("training", "Fine-tuning, on validation examples", facts(pairs))


def evaluation(sources: Sources) -> Section | None:
    """What `latadj eval` found at one position; None where it was not run."""
    result = sources.evaluation
    if result is None:
        return None
    generates = sources.generates
    pairs: dict[str, str] = {}
    for split, scores in result["scores"].items():
        for name, value in scores.items():
            low, high = result["metric_ci"][split]
            scale = 1.0 if generates else 100.0
            ci = f" (95%: {scale * low:.1f} to {scale * high:.1f})" if name == result["metric"] else ""
            pairs[f"{name.replace('_', ' ')}, {split}"] = f"{scale * value:.2f}{ci}"
    if generates:
        pairs |= _percentiles(result.get("ttft_percentiles_ms"), "first token")
    else:
        pairs["measured, over 1x"] = f"{result['measured']:.2f}x (95%: {' to '.join(_two(result['measured_ci']))})"
        pairs |= _percentiles(result.get("latency_ms"), "latency of one text")
        pairs["throughput"] = f"{result['throughput_per_s']:.0f} texts a second"
    return Section("eval", f"One position: {result['speedup']:g}x", facts(pairs))


def _percentiles(result: dict[str, float] | None, what: str) -> dict[str, str]:
    shown = ", ".join(f"{name} {value:.1f} ms" for name, value in (result or {}).items())
    return {what: shown} if shown else {}


def _two(values: list[float]) -> list[str]:
    return [f"{value:.2f}" for value in values]


def environment(sources: Sources) -> Section:
    """The machine, and whether it was quiet."""
    where = sources.environment
    precision = f"{where.get('precision')}{', by ' + str(where['kernel']) if 'kernel' in where else ''}"
    pairs = {
        "processor": where.get("processor"),
        "device": where.get("device"),
        "precision": precision,
        "threads": f"{where.get('threads')} on {where.get('cores')} cores, of which this run may use "
        f"{len(where.get('affinity') or []) or 'all'}",
        "instructions": ", ".join(where.get("cpu_flags") or []) or None,
        "quiet": _quiet(where.get("quiet")),
        "system": f"{where.get('platform')}, Python {where.get('python')}",
        "packages": ", ".join(f"{name} {version}" for name, version in (where.get("packages") or {}).items()),
        "commit": where.get("commit"),
    }
    return Section("environment", "Environment", facts({name: str(value) for name, value in pairs.items() if value}))


def _quiet(result: dict[str, Any] | None) -> str | None:
    if not result:
        return None
    apart = "" if result.get("spread") is None else f"; rounds lay {result['spread']:.1%} apart"
    shares = (
        f"others used {result['busy_elsewhere']:.1%} of the cores, the hypervisor took {result['steal']:.1%}{apart}"
    )
    return f"{'no: ' if result.get('noisy') else 'yes: '}{shares}"


def origin(sources: Sources) -> Section:
    """Files that the page was made from, and the config of each."""
    results: dict[str, dict[str, Any]] = {
        "sweep": vars(sources.sweep) if sources.sweep else {},
        "calibrate": sources.calibrate or {},
        "eval": sources.evaluation or {},
        "finetune": sources.finetune or {},
        "prune": vars(sources.prune) if sources.prune else {},
        "compare": vars(sources.compare) if sources.compare else {},
    }
    rows = []
    configs = []
    for command, (file, _) in FILES.items():
        if not results[command]:
            continue
        where = results[command].get("environment") or {}
        time = str(where.get("time") or "")[:16].replace("T", " ")
        rows.append([file, time, *(str(where.get(key) or "") for key in ("processor", "precision", "commit"))])
        config = flat(json.loads(json.dumps(results[command].get("config") or {})))
        lines = [[key, value] for key, value in config.items()]
        configs.append(details(f"Config of latadj {command}", table(["key", "value"], lines)))
    shown = table(["file", "written, UTC", "processor", "precision", "commit"], rows, caption=f"In {sources.folder}")
    shown += Markup().join(note(f"Left out: {file} {why}.") for file, why in sources.left_out.items() if why != MISSING)
    return Section("files", "What this page was made from", shown + Markup().join(configs))
