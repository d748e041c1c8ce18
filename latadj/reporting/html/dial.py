"""Sections about the dial: requested and measured speedups, what it cost, where contribution lies, who is kept."""

from operator import itemgetter
from typing import Any

import numpy as np
from markupsafe import Markup

from latadj.reporting.html.charts import Series, contribution_map, heat_map, line_chart
from latadj.reporting.html.page import Section, html_table, missing, note, spread, table
from latadj.reporting.html.sources import Sources
from latadj.reporting.results.base import out_of_reach
from latadj.reporting.results.dial_sweep import CONTROLS, FLOPS, PREDICTED, SPEEDUP, DialSweep
from latadj.reporting.results.generation import LOGARITHMIC_FROM, GenerationSweep
from latadj.reporting.results.sweep import Sweep
from latadj.reporting.table import Column, Table, speedup

MOST_ROWS = 12
ABOUT_PLAIN = "The plain model runs under transformers' own attention; one prompt at a time."
ABOUT_BASELINES = (
    "Three baselines, all the same full weights through transformers' own attention: bucketed, batches of like length "
    "with next to no padding; batch_padded, in data order, padded to the longest of each batch; max_padded, every text "
    "padded to the task's longest. The first is the honest one."
)


def dial(sources: Sources) -> Section:
    """Requested, predicted and measured speedups."""
    title = "The dial: requested, predicted, measured"
    sweep = sources.sweep
    if sweep is None:
        return Section("dial", title, _predicted(sources))
    intro = " ".join(
        [
            f"Marked in {'the time of this device' if sweep.target == 'latency' else 'FLOPs'}.",
            *out_of_reach(sweep.unreachable, sweep.reach),
        ]
    )
    columns, marked = [SPEEDUP, PREDICTED], all(row.over_own for row in sweep.rows)
    if marked:
        own = sweep.own_columns()
        columns += [*own, Column("off by", lambda row: own[0].get(row) / row.speedup - 1, "{:+.1%}")]
    shown = html_table(Table("", [*columns, FLOPS], sweep.rows))
    if not marked:
        return Section("dial", title, note(intro) + shown + missing("The clock was left out.", "latadj sweep"))
    requested = [row.speedup for row in sweep.rows]
    predicted = [row.predicted for row in sweep.rows]
    measured = [row.over_own for row in sweep.rows if row.over_own is not None]
    low, high = zip(*(one.ci for one in measured), strict=True)
    series = [Series("measured", requested, [one.speedup for one in measured], low, high)]
    as_requested = all(
        value is not None and abs(value / at - 1) < 0.01 for value, at in zip(predicted, requested, strict=True)
    )
    if not as_requested and None not in predicted:
        series.append(Series("predicted", requested, predicted, dashed=True))
    chart = line_chart(
        series,
        title="measured against requested speedup",
        x_label="requested speedup",
        y_label="speedup over 1x",
        diagonal=True,
        caption=f"Dotted: exactly the requested speedup{', as was predicted' if as_requested else ''}. "
        "Band: 95% interval over rounds.",
    )
    if sweep.target == "flops":
        intro += " Measured is time all the same, so it need not follow the diagonal."
    return Section("dial", title, note(intro) + chart + shown)


def _predicted(sources: Sources) -> Markup:
    """What calibration predicted, where nothing was swept."""
    if sources.calibrate is None:
        return missing("The dial was not swept.", "latadj sweep")
    columns = [
        Column("speedup", itemgetter("speedup"), "{:g}x"),
        speedup("predicted", itemgetter("predicted")),
        speedup("FLOPs", itemgetter("flops_speedup")),
    ]
    shown = html_table(Table("", columns, sources.calibrate["profiles"]))
    return shown + missing("Nothing was measured yet.", "latadj sweep")


def cost(sweep: Sweep | GenerationSweep | None) -> Section:
    """The frontier, and the tables behind it."""
    title = "The frontier: quality against speed"
    if sweep is None:
        return Section("frontier", title, missing("The dial was not swept.", "latadj sweep"))
    controls = [name for name in CONTROLS if all(name in row.controls for row in sweep.rows)]
    columns = [SPEEDUP, *sweep.quality_columns()]
    shown = html_table(Table(f"Quality on {sweep.test_examples} test examples", columns, sweep.rows))
    better = "Drops" if sweep.greater_is_better else "Increases"
    intro = f"{better} count from the better full model, with a paired bootstrap 95% interval."
    if controls:
        intro += " Controls keep as many tokens at the same places, chosen by another score."
    body = _frontier(sweep, controls) + shown + note(intro)
    if sweep.timed:
        caption = "Time over the full model" if sweep.greater_is_better else "Time to first token, decoding and cache"
        clock = Table(caption, [SPEEDUP, *sweep.clock_columns()], sweep.rows)
        body += html_table(clock) + note(ABOUT_BASELINES if sweep.greater_is_better else ABOUT_PLAIN)
    for by_length in sweep.by_length():
        body += html_table(by_length)
    for warning in sweep.length_warnings():
        body += note(warning)
    return Section("frontier", title, body)


def _frontier(sweep: DialSweep, controls: list[str]) -> Markup:
    scale, metric = 100.0 if sweep.greater_is_better else 1.0, sweep.metric.replace("_", " ")
    rows, timed = sweep.rows, sweep.timed
    x = [row.over_full.speedup if timed else row.flops_speedup for row in rows]
    curve = Series(
        "this checkpoint, with 95% intervals",
        x,
        [scale * row.metric for row in rows],
        low=[scale * row.metric_ci[0] for row in rows],
        high=[scale * row.metric_ci[1] for row in rows],
        x_cis=[row.over_full.ci if timed else None for row in rows],
        labels=[row.name for row in rows],
    )
    others = [
        Series(f"score={name}, same cost", x, [scale * row.controls[name] for row in rows], dashed=True)
        for name in controls
    ]
    worst = max(value for series in (curve, *others) for value in series.y if value is not None)
    over = f"speedup over the {sweep.FULL}" if timed else "FLOPs speedup over the full model"
    return line_chart(
        [curve, *others],
        title=f"{metric} against speedup",
        x_label="times the full model's speed" if timed else "FLOPs speedup",
        y_label=f"{metric} × 100" if sweep.greater_is_better else metric,
        baseline=(scale * sweep.full_metric, f"full model {sweep.percent(sweep.full_metric)}"),
        logarithmic=not sweep.greater_is_better and worst > LOGARITHMIC_FROM * sweep.full_metric,
        caption=f"Across: {over}. The numbers at the points are the dial's speedups.",
    )


def contribution(sources: Sources) -> Section:
    """ACC by layer and rank."""
    title = "Where contribution lies"
    calibration = sources.calibrate
    if calibration is None:
        return Section("acc", title, missing("The model was not calibrated in this folder.", "latadj calibrate"))
    layer_acc = calibration["layer_acc"]
    intro = (
        f"Attention Context Contribution (ACC) on {calibration['examples']} training examples. A layer's ACC is the "
        "share of tokens that still contribute there: the lower, the further the layer can be cut."
    )
    if calibration.get("by_rank"):
        shown = contribution_map(
            calibration["by_rank"],
            layer_acc,
            title="contribution of tokens by rank in each layer",
            caption="Each row: tokens of a layer from the strongest to the weakest; the darker, the more they "
            "contribute, from a quarter of an equal share to four times. Upright marks: layer ACC.",
        )
    else:
        rows = [[str(layer), f"{value:.3f}"] for layer, value in enumerate(layer_acc, start=1)]
        shown = table(["layer", "ACC"], rows, numbers={0, 1})
        shown += note("Contribution by rank is not kept where only the device was measured.")
    return Section("acc", title, note(intro) + shown)


def kept(sources: Sources) -> Section:
    """Keep ratios of each layer at each speedup."""
    title = "Who is kept, layer by layer"
    rows: dict[str, list[float]] = {}
    whose = "of the test texts' tokens"
    if sources.sweep is not None:
        rows = {row.name: row.keep for row in sources.sweep.rows}
    elif sources.calibrate is not None:
        rows = {f"{one['speedup']:g}x": one["keep"] for one in sources.calibrate["profiles"]}
        whose = "of a text's tokens that the profile asks for"
    if not rows:
        return Section("keep", title, missing("There is no dial in this folder.", "latadj calibrate"))
    names = spread(list(rows), MOST_ROWS)
    layers = len(rows[names[0]])
    values = [rows[name] for name in names]
    shown = heat_map(
        values,
        title="share of tokens that leave each layer, by speedup",
        rows=names,
        columns=[str(layer) for layer in range(1, layers + 1)],
        x_label="layer",
        caption=f"Share {whose} that leave each layer.{_trimmed(values)}",
    )
    return Section("keep", title, shown)


def axes(sources: Sources) -> Section | None:
    """What width gives along the dial and what tokens give, and how wide each layer is; None for a dial of one axis."""
    profiles = sources.calibrate["profiles"] if sources.calibrate else []
    if not profiles or not all({"width", "heads", "neurons", "by_width"} <= set(one) for one in profiles):
        return None
    if all(one["width"] >= 1 for one in profiles):
        return None
    requested = [one["speedup"] for one in profiles]
    gains = {
        "both": [one["flops_speedup"] for one in profiles],
        "width alone": [one["by_width"] for one in profiles],
        "tokens alone": [one["flops_speedup"] / one["by_width"] for one in profiles],
    }
    shown = line_chart(
        [Series(name, requested, values, dashed=name != "both") for name, values in gains.items()],
        title="times fewer FLOPs, by axis",
        x_label="requested speedup",
        y_label="times fewer FLOPs",
        caption="Narrower layers and fewer tokens; the two lines multiplied are the third. The last layer, which "
        "computes the one position that is read, counts as tokens.",
    )
    layers = len(profiles[0]["keep"])
    for part, named in (("heads", "attention heads"), ("neurons", "feed-forward neurons")):
        shown += heat_map(
            [one[part] for one in profiles],
            title=f"share of {named} that each layer uses, by speedup",
            rows=[f"{one['speedup']:g}x" for one in profiles],
            columns=[str(layer) for layer in range(1, layers + 1)],
            x_label="layer",
            caption=f"Share of each layer's {named}. A layer without heads and neurons is left out.",
        )
    return Section("axes", "Which axis gives what", shown)


def _trimmed(values: list[list[float]]) -> str:
    first: Any = np.asarray(values[0])
    trims = len(first) > 1 and first[:-1].min() == 1.0 and first[-1] < 1.0
    return " At 1x only the last layer is trimmed, to the position that is read: no answer changes." if trims else ""
