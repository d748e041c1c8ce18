"""Sections about pruning: what is left of each layer, and pruned models beside the dial."""

from markupsafe import Markup

from latadj.reporting.html.components import Section, html_table
from latadj.reporting.html.page import note
from latadj.reporting.html.sources import Sources
from latadj.reporting.results.pruning import PrunedModel, Size
from latadj.reporting.table import Column, Table, interval, speedup
from latadj.reporting.tables import comparison
from latadj.reporting.tables.pruning import structure_table
from latadj.utils.serialization import structure


def left(sources: Sources) -> Section | None:
    """What `latadj prune` left of each layer, and what it was worth; None where it was not run."""
    result = sources.prune
    if result is None:
        return None
    models, full = structure(list[PrunedModel], result["frontier"]), structure(Size, result["full"])
    columns = [
        Column("model", lambda model: "pruned" if model.budget is None else f"{model.budget:g}", left=True),
        speedup("parameters", lambda model: model.size.parameters / full.parameters),
        speedup("FLOPs", lambda model: model.size.flops / full.flops),
        speedup("measured", lambda model: model.measured_speedup),
        *(
            Column(
                name,
                lambda model, part=part: [getattr(model, part).full_metric, getattr(model, part).metric],
                lambda value: f"{100 * value:.2f}",
                between=" → ",
            )
            for name, part in (("judged by", "judged"), ("confirmed on", "confirmed"))
        ),
        Column("confirmed difference", lambda model: model.confirmed.difference, "{:+.2f}", 100),
        interval("", lambda model: model.confirmed.difference_ci, "{:+.2f}", " to ", scale=100),
    ]
    metric = result["metric"].replace("_", " ")
    worth = Table(f"Against the full model: shares, and {metric} on validation text", columns, models)
    layers = structure_table(models, "What is left of each layer")
    removed = [candidate for candidate in result["candidates"] if not candidate["kept"]]
    text = f"{len(removed)} of {len(result['candidates'])} candidates went, judged by {result['objective']}."
    return Section("pruning", "Pruning: what is left", html_table(worth) + html_table(layers) + note(text))


def compared(sources: Sources) -> Section | None:
    """Pruned models and dials side by side; None where they were not compared."""
    result = sources.compare
    if result is None:
        return None
    shown = Table("On the test split", comparison.columns(result), result.models)
    notes = Markup().join(map(note, comparison.notes(result)))
    return Section("compared", "Compared: models in every precision", html_table(shown) + notes)
