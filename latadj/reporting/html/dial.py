"""Sections about the dial: requested and measured speedups, what it cost, where contribution lies, who is kept."""

from operator import itemgetter
from typing import Any

import numpy as np
from markupsafe import Markup

from latadj.reporting.html.charts import Series, line_chart
from latadj.reporting.html.components import Section, html_table, spread
from latadj.reporting.html.heat_maps import contribution_map, heat_map
from latadj.reporting.html.page import missing, note, table
from latadj.reporting.html.positions import Position, Results
from latadj.reporting.html.sources import Sources
from latadj.reporting.results.sweep import CONTROLS, FLOPS, PREDICTED, SPEEDUP
from latadj.reporting.table import Column, Table, speedup

MOST_ROWS = 12
# Where the worst perplexity is so many times the full model's, a linear axis would flatten what matters.
LOGARITHMIC_FROM = 3.0
PROMPTS = "The plain model runs under transformers' own attention; one prompt at a time."
BASELINES = (
    "Three baselines, all the same full weights through transformers' own attention: bucketed, batches of like length "
    "with next to no padding; batch_padded, in data order, padded to the longest of each batch; max_padded, every text "
    "padded to the task's longest. The first is the honest one."
)


def dial(sources: Sources, results: Results | None) -> Section:
    """Requested, predicted and measured speedups."""
    title = "The dial: requested, predicted, measured"
    if results is None or not results.positions:
        return Section("dial", title, _predicted(sources))
    intro = f"Marked in {'the time of this device' if results.target == 'latency' else 'FLOPs'}."
    if results.unreachable:
        left = ", ".join(f"{at:g}x" for at in results.unreachable)
        intro += f" Out of reach here: {left}; the dial ends at {results.reach or 0:.2f}x."
    columns = [SPEEDUP, PREDICTED]
    if results.marked:
        own = results.sweep.own_columns()
        columns += [*own, Column("off by", lambda row: own[0].get(row) / row.speedup - 1, "{:+.1%}")]
    shown = html_table(Table("", [*columns, FLOPS], results.rows))
    if not results.marked:
        return Section("dial", title, note(intro) + shown + missing("The clock was left out.", "latadj sweep"))
    series = [_measured(results.positions)]
    requested = [position.speedup for position in results.positions]
    predicted = [position.predicted for position in results.positions]
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
    if results.target == "flops":
        intro += " Measured is time all the same, so it need not follow the diagonal."
    return Section("dial", title, note(intro) + chart + shown)


def _measured(positions: list[Position]) -> Series:
    found = [position.measured for position in positions if position.measured is not None]
    return Series(
        "measured",
        [position.speedup for position in positions],
        [one.speedup for one in found],
        [one.ci[0] for one in found],
        [one.ci[1] for one in found],
    )


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


def cost(results: Results | None) -> Section:
    """The frontier, and the tables behind it."""
    title = "The frontier: quality against speed"
    if results is None or not results.positions:
        return Section("frontier", title, missing("The dial was not swept.", "latadj sweep"))
    controls = [name for name in CONTROLS if all(name in one.controls for one in results.positions)]
    columns = [SPEEDUP, *results.sweep.quality_columns()]
    shown = html_table(Table(f"Quality on {results.examples} test examples", columns, results.rows))
    better = "Increases" if results.generates else "Drops"
    intro = f"{better} count from the better full model, with a paired bootstrap 95% interval."
    if controls:
        intro += " Controls keep as many tokens at the same places, chosen by another score."
    body = _frontier(results, controls) + shown + note(intro)
    if results.timed:
        caption = "Time to first token, decoding and cache" if results.generates else "Time over the full model"
        clock = Table(caption, [SPEEDUP, *results.sweep.clock_columns()], results.rows)
        body += html_table(clock) + note(PROMPTS if results.generates else BASELINES)
    return Section("frontier", title, body)


def _frontier(results: Results, controls: list[str]) -> Markup:
    scale = 1.0 if results.generates else 100.0
    metric = results.metric.replace("_", " ")

    x = [one.over_full.speedup if results.timed and one.over_full else one.flops for one in results.positions]
    shown = [scale * one.quality for one in results.positions]
    curve = Series(
        "this checkpoint, with 95% intervals",
        x,
        shown,
        low=[scale * one.quality_ci[0] for one in results.positions],
        high=[scale * one.quality_ci[1] for one in results.positions],
        x_cis=[one.over_full.ci if results.timed and one.over_full else None for one in results.positions],
        labels=[one.name for one in results.positions],
    )
    others = [
        Series(f"score={name}, same cost", x, [scale * one.controls[name] for one in results.positions], dashed=True)
        for name in controls
    ]
    worst = max(value for series in (curve, *others) for value in series.y if value is not None)
    over = f"speedup over the {results.full_name}" if results.timed else "FLOPs speedup over the full model"
    return line_chart(
        [curve, *others],
        title=f"{metric} against speedup",
        x_label="times the full model's speed" if results.timed else "FLOPs speedup",
        y_label=metric if results.generates else f"{metric} × 100",
        baseline=(scale * results.full, f"full model {results.quality(results.full)}"),
        logarithmic=results.generates and worst > LOGARITHMIC_FROM * results.full,
        caption=f"Across: {over}. The numbers at the points are the dial's speedups.",
    )


def contribution(sources: Sources) -> Section:
    """ACC by layer and rank."""
    title = "Where contribution lies"
    found = sources.calibrate
    if found is None:
        return Section("acc", title, missing("The model was not calibrated in this folder.", "latadj calibrate"))
    layer_acc = found["layer_acc"]
    intro = (
        f"Attention Context Contribution (ACC) on {found['examples']} training examples. A layer's ACC is the share of "
        "tokens that still contribute there: the lower, the further the layer can be cut."
    )
    if found.get("by_rank"):
        shown = contribution_map(
            found["by_rank"],
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


def kept(sources: Sources, results: Results | None) -> Section:
    """Keep ratios of each layer at each speedup."""
    title = "Who is kept, layer by layer"
    rows: dict[str, list[float]] = {}
    whose = "of the test texts' tokens"
    if results is not None:
        rows = {position.name: position.keep for position in results.positions}
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


def _trimmed(values: list[list[float]]) -> str:
    first: Any = np.asarray(values[0])
    trims = len(first) > 1 and first[:-1].min() == 1.0 and first[-1] < 1.0
    return " At 1x only the last layer is trimmed, to the position that is read: no answer changes." if trims else ""
