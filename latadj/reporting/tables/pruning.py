"""What pruning left, and what it is worth."""

from latadj.elimination.topk.setting import TopKAttention
from latadj.reporting.results.pruning import PrunedModel, PruneResult
from latadj.reporting.table import Column, Document, Table, speedup


def document(result: PruneResult) -> Document:
    """Heads and neurons of each layer, then size and quality of each model."""
    notes = [
        "hard attention: " + TopKAttention.from_json(model.topk_attention).text()
        for model in result.frontier
        if model.topk_attention is not None
    ]
    structure = structure_table(result.frontier, f"{result.model} on {result.task}: what is left")
    return Document([structure, _worth(result)], notes)


def structure_table(models: list[PrunedModel], title: str) -> Table:
    """A row for each layer; heads and neurons of each model."""
    columns = [Column("layer", lambda layer: layer + 1)]
    for model in models:
        name = "" if model.budget is None else f" at {model.budget:g}"
        for place, what in enumerate(("heads", "neurons")):
            columns.append(Column(f"{what}{name}", [layer.cells()[place] for layer in model.layers].__getitem__))
    return Table(title, columns, range(len(models[0].layers)))


def _worth(result: PruneResult) -> Table:
    full = result.frontier[0]
    title = (
        f"{result.metric} on validation text; full model {100 * full.judged.full_metric:.2f} judged, "
        f"{100 * full.confirmed.full_metric:.2f} confirmed"
    )

    def difference(model: PrunedModel) -> str:
        low, high = (f"{100 * side:+.2f}" for side in model.confirmed.difference_ci)
        return f"{100 * model.confirmed.difference:+.2f} ({low} to {high})"

    columns = [
        Column("budget", lambda model: "-" if model.budget is None else f"{model.budget:g}"),
        Column("params left", lambda model: model.size.parameters / result.full.parameters, "{:.2f}"),
        Column("FLOPs left", lambda model: model.size.flops / result.full.flops, "{:.2f}"),
        speedup("speedup", lambda model: model.measured_speedup),
        Column("judged", lambda model: model.judged.metric, "{:.2f}", 100),
        Column("confirmed", lambda model: model.confirmed.metric, "{:.2f}", 100),
        Column("difference", difference),
    ]
    return Table(title, columns, result.frontier)
