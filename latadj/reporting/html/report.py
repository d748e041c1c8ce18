"""The page of `latadj report`: its headline, then its sections."""

from itertools import takewhile

import numpy as np
from markupsafe import Markup

from latadj.reporting.html import dial, examples, pruning, setup
from latadj.reporting.html.page import minus, note, page, render, static, tile
from latadj.reporting.html.sources import Sources
from latadj.reporting.results.dial_sweep import DialSweep


def html_report(sources: Sources) -> str:
    """One self-contained HTML page of what a run's folder holds; what is not there is said in its place."""
    sections = [
        dial.dial(sources),
        dial.cost(sources.sweep),
        dial.contribution(sources),
        dial.kept(sources),
        dial.axes(sources),
        pruning.compared(sources),
        pruning.left(sources),
        examples.slowest(sources),
        examples.changed(sources),
        setup.evaluation(sources),
        setup.training(sources),
        setup.environment(sources),
        setup.origin(sources),
    ]
    where, named = sources.environment, sources.named
    parts = [where.get("processor"), where.get("precision"), (where.get("time") or "")[:10]]
    body = render(
        "report.html",
        model=named["model"],
        task=named["task"],
        where=" · ".join(str(part) for part in parts if part),
        warning=(where.get("quiet") or {}).get("warning"),
        headline=_without_sweep(sources) if sources.sweep is None else _headline(sources.sweep),
        sections=[section for section in sections if section is not None],
    )
    title = sources.folder.name if sources.sweep is None else f"{named['model']} on {named['task']}"
    return page(f"latadj report: {title}", body, style=static("report.css"), script=static("report.js"))


def _headline(sweep: DialSweep) -> Markup:
    """What matters in one sentence and a few numbers."""
    tiles = [_full(sweep), _within(sweep)]
    first = next((row for row in sweep.rows if row.speedup == 1), None)
    if first is not None and first.over_full is not None:
        low, high = first.over_full.ci
        detail = f"{'' if sweep.greater_is_better else 'first token, '}over the full model (95%: {low:.2f}–{high:.2f})"
        tiles.append(tile("At 1x already", f"{first.over_full.speedup:.2f}x", detail))
    timed = [row for row in sweep.rows if row.over_own is not None and row.speedup > 1]
    errors = {row.name: abs(row.over_own.speedup / row.speedup - 1) for row in timed}
    if errors and sweep.target == "latency":
        worst = max(errors, key=lambda name: errors[name])
        detail = f"from requested to measured, median; at worst {errors[worst]:.1%}, at {worst}"
        tiles.append(tile("Dial off by", f"{np.median(list(errors.values())):.1%}", detail))
    return Markup('<p class="lede">{}</p>').format(_sentence(sweep)) + _tiles(tiles)


def _sentence(sweep: DialSweep) -> str:
    """What a reader should remember, of the position nearest to 2x."""
    row = min(sweep.rows, key=lambda row: (row.speedup == 1, abs(row.speedup - 2)))
    loss, ends = row.loss
    metric, full = sweep.metric.replace("_", " "), sweep.percent(sweep.full_metric)
    if sweep.greater_is_better:
        far, name, (low, high) = f"{100 * abs(loss):.2f} points", "drop", (f"{100 * end:+.2f}" for end in ends)
    else:
        far, name, (low, high) = f"{abs(loss):.1%}", "increase", (f"{end:+.1%}" for end in ends)
    side = "below" if (loss > 0) == sweep.greater_is_better else "above"
    cost = (
        f"{metric[0].upper() + metric[1:]} is then {sweep.percent(row.metric)}, {far} {side} the better full model's "
        f"{full} ({name}, 95%: {minus(low)} to {minus(high)})."
    )
    if row.over_full is None:
        return f"Asked for {row.name}, it needs {1 / row.flops_speedup:.0%} of the full model's FLOPs. {cost}"
    to_what = f"as the {sweep.FULL}" if sweep.greater_is_better else "to its first token as the plain model"
    own = ""
    if row.over_own is not None and row.speedup != 1:
        low, high = (f"{end:.2f}" for end in row.over_own.ci)
        own = f"{row.over_own.speedup:.2f} times as fast as at 1x (95%: {low} to {high}) and "
    return f"Asked for {row.name}, it is {own}{row.over_full.speedup:.2f} times as fast {to_what}. {cost}"


def _full(sweep: DialSweep) -> Markup:
    plain = "not kept" if sweep.plain_metric is None else sweep.percent(sweep.plain_metric)
    own = sweep.percent(sweep.baseline_metric)
    detail = f"{sweep.metric.replace('_', ' ')}; plain model {plain}, this checkpoint at 1x {own}"
    return tile("Full model", sweep.percent(sweep.full_metric), detail)


def _within(sweep: DialSweep) -> Markup:
    """The largest speedup that costs little, and before which none costs more: a later lucky one does not count."""
    most, name = (0.01, "1 point") if sweep.greater_is_better else (0.05, "5%")
    title = f"Largest speedup within {name}"

    def place(loss: float) -> str:
        if sweep.greater_is_better:
            return f"{100 * abs(loss):.2f} points {'below' if loss > 0 else 'above'} the full model"
        return f"a perplexity {abs(loss):.1%} {'above' if loss > 0 else 'below'} the full model's"

    fine = list(takewhile(lambda row: row.loss[0] <= most, sweep.rows))
    if not fine:
        first, least = sweep.rows[0], min(sweep.rows, key=lambda row: row.loss[0])
        closest = "" if least is first else f"; the best is {least.name}, {place(least.loss[0])}"
        return tile(title, "none", f"{first.name} is already {place(first.loss[0])}{closest}")
    last = fine[-1]
    clock = f", {last.over_full.speedup:.2f} times as fast" if last.over_full else ""
    return tile(title, last.name, f"{place(last.loss[0])}{clock}")


def _without_sweep(sources: Sources) -> Markup:
    """Tiles where nothing was swept."""
    tiles, result, calibration = [], sources.evaluation, sources.calibrate
    if result is not None:
        split, scores = next(iter(result["scores"].items()))
        value = scores[result["metric"]] * (1 if sources.generates else 100)
        tiles.append(tile(result["metric"].replace("_", " "), f"{value:.2f}", f"at {result['speedup']:g}x on {split}"))
    if calibration is not None:
        profile_type = calibration["dial"]["profile_type"]
        tiles.append(tile("The dial ends at", f"{calibration['reach']:.2f}x", f"profile={profile_type}"))
    detail = note("The dial was not swept, so there is no frontier: latadj sweep (same options) measures it.")
    return _tiles(tiles) + detail if tiles else detail


def _tiles(tiles: list[Markup]) -> Markup:
    return Markup('<div class="tiles">{}</div>').format(Markup().join(tiles))
