"""The top of a report: what matters in one sentence and a few numbers."""

from itertools import takewhile
from typing import Any

import numpy as np
from markupsafe import Markup

from latadj.reporting.html.components import between, times
from latadj.reporting.html.page import note, tile
from latadj.reporting.html.positions import Position, Results
from latadj.reporting.html.sources import Sources

# Losses that a user may not mind: a point, or a twentieth of perplexity.
SMALL = {False: (0.01, "1 point"), True: (0.05, "5%")}


def headline(sources: Sources, results: Results | None) -> Markup:
    """A sentence, and tiles."""
    return _of_sweep(results) if results and results.positions else _without_sweep(sources)


def environment_of(sources: Sources) -> dict[str, Any]:
    """Where the headline's numbers were measured."""
    if sources.sweep is not None:
        return sources.sweep.environment
    return dict(named(sources).get("environment") or {})


def sentence(results: Results) -> str:
    """What a reader should remember, of the position nearest to 2x."""
    one = min(results.positions, key=lambda position: (position.speedup == 1, abs(position.speedup - 2)))
    metric = results.metric.replace("_", " ")
    above = (one.loss > 0) == results.generates
    far = f"{abs(one.loss):.1%}" if results.generates else f"{100 * abs(one.loss):.2f} points"
    low, high = (results.loss(end) for end in one.loss_ci)
    cost = (
        f"{metric[0].upper() + metric[1:]} is then {results.quality(one.quality)}, {far} "
        f"{'above' if above else 'below'} the better full model's {results.quality(results.full)} "
        f"({results.loss_name.split(',')[0]}, 95%: {low} to {high})."
    )
    if one.over_full is None:
        return f"Asked for {one.name}, it needs {1 / one.flops:.0%} of the full model's FLOPs. {cost}"
    over = f"{one.over_full.speedup:.2f} times as fast as the {results.full_name}"
    if results.generates:
        over = f"{one.over_full.speedup:.2f} times as fast to its first token as the plain model"
    own = "" if one.measured is None or one.speedup == 1 else f"{_own(one)} and "
    return f"Asked for {one.name}, it is {own}{over}. {cost}"


def _own(one: Position) -> str:
    assert one.measured is not None
    low, high = one.measured.ci
    return f"{one.measured.speedup:.2f} times as fast as at 1x (95%: {low:.2f} to {high:.2f})"


def _of_sweep(results: Results) -> Markup:
    tiles = [_full(results), _within(results)]
    one = next((position for position in results.positions if position.speedup == 1), None)
    if one is not None and one.over_full is not None:
        detail = "first token, " if results.generates else ""
        ci = between(one.over_full)
        tiles.append(tile("At 1x already", times(one.over_full.speedup), f"{detail}over the full model (95%: {ci})"))
    errors = {
        position.name: abs(position.measured.speedup / position.speedup - 1)
        for position in results.positions
        if position.measured is not None and position.speedup > 1
    }
    if errors and results.target == "latency":
        worst = max(errors, key=lambda name: errors[name])
        detail = f"from requested to measured, median; at worst {errors[worst]:.1%}, at {worst}"
        tiles.append(tile("Dial off by", f"{np.median(list(errors.values())):.1%}", detail))
    return Markup('<p class="lede">{}</p>').format(sentence(results)) + _row(tiles)


def _full(results: Results) -> Markup:
    plain = "not kept" if results.plain is None else results.quality(results.plain)
    detail = (
        f"{results.metric.replace('_', ' ')}; plain model {plain}, this checkpoint at 1x {results.quality(results.own)}"
    )
    return tile("Full model", results.quality(results.full), detail)


def _within(results: Results) -> Markup:
    """The largest speedup that costs little, and before which none costs more: a later lucky one does not count."""
    most, name = SMALL[results.generates]
    fine = list(takewhile(lambda position: position.loss <= most, results.positions))
    if not fine:
        least = min(results.positions, key=lambda position: position.loss)
        return tile(f"Within {name}", "none", f"{least.name} is nearest: {_moved(results, least)}")
    clock = f", {times(fine[-1].over_full.speedup)} over the full model" if fine[-1].over_full else ""
    return tile(f"Within {name}", fine[-1].name, f"{_moved(results, fine[-1])}{clock}")


def _moved(results: Results, one: Position) -> str:
    """Which way the metric went, and how far."""
    if results.generates:
        return f"perplexity {abs(one.loss):.1%} {'higher' if one.loss > 0 else 'lower'}"
    return f"{'loses' if one.loss > 0 else 'gains'} {100 * abs(one.loss):.2f} points"


def named(sources: Sources) -> dict[str, Any]:
    """The result that says which model and task a folder without a sweep is about."""
    compared, pruned = (vars(result) if result else None for result in (sources.compare, sources.prune))
    return sources.evaluation or compared or sources.calibrate or sources.finetune or pruned or {}


def _without_sweep(sources: Sources) -> Markup:
    """Tiles where nothing was swept."""
    tiles = []
    found = sources.evaluation
    if found is not None:
        split, scores = next(iter(found["scores"].items()))
        value = scores[found["metric"]]
        generates = found["schema"].endswith("generation/1")
        shown = f"{value:.2f}" if generates else f"{100 * value:.2f}"
        tiles.append(tile(found["metric"].replace("_", " "), shown, f"at {found['speedup']:g}x on {split}"))
    if sources.calibrate is not None:
        dial = sources.calibrate["dial"]
        tiles.append(tile("The dial ends at", times(sources.calibrate["reach"]), f"profile={dial['profile_type']}"))
    detail = note("The dial was not swept, so there is no frontier: latadj sweep (same options) measures it.")
    return _row(tiles) + detail if tiles else detail


def _row(tiles: list[Markup]) -> Markup:
    return Markup('<div class="tiles">{}</div>').format(Markup().join(tiles))
