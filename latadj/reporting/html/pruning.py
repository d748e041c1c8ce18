"""Sections about pruning: what is left of each layer, and pruned models beside the dial."""

from markupsafe import Markup

from latadj.reporting.html.page import Section, html_table, note
from latadj.reporting.html.sources import Sources
from latadj.reporting.results.pruning import PairedComparison, structure_table
from latadj.reporting.table import Column, Table, speedup


def left(sources: Sources) -> Section | None:
    """What `latadj prune` left of each layer, and what it was worth; None where it was not run."""
    result = sources.prune
    if result is None:
        return None
    models, full, candidates = result.frontier, result.full, result.candidates
    share = f"{result.config.get('prune', {}).get('confidence', 0.95):.0%}"
    columns = [
        Column("model", lambda model: "pruned" if model.budget is None else f"{model.budget:g}", left=True),
        speedup("parameters", lambda model: model.size.parameters / full.parameters),
        speedup("FLOPs", lambda model: model.size.flops / full.flops),
        speedup("measured", lambda model: model.measured_speedup),
        Column("validation", lambda model: _from_to(model.validation), "{:.2f}", 100, between=" → "),
        Column("hold-out", lambda model: _from_to(model.holdout), "{:.2f}", 100, between=" → "),
        Column("hold-out difference", lambda model: model.holdout.difference, "{:+.2f}", 100),
        Column(share, lambda model: model.holdout.difference_ci, "{:+.2f}", 100, between=" to "),
    ]
    metric = result.metric.replace("_", " ")
    worth = Table(f"Against the full model: shares, and {metric} on validation text", columns, models)
    layers = structure_table(models, "What is left of each layer")
    removed = [candidate for candidate in candidates if not candidate["kept"]]
    text = f"{len(removed)} of {len(candidates)} candidates went, for {result.objective}."
    return Section("pruning", "Pruning: what is left", html_table(worth) + html_table(layers) + note(text))


def _from_to(pair: PairedComparison) -> tuple[float, float]:
    return pair.full_metric, pair.metric


def compared(sources: Sources) -> Section | None:
    """Pruned models and dials side by side; None where they were not compared."""
    result = sources.compare
    if result is None:
        return None
    shown = Table("On the test split", result.columns(), result.models)
    notes = Markup().join(map(note, result.notes()))
    return Section("compared", "Compared: models in every precision", html_table(shown) + notes)
