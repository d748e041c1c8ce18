"""The result of `latadj prune`: what is left, and what it is worth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from latadj.elimination.topk_setting import TopK, TopKAttention
from latadj.reporting.results.base import Result
from latadj.reporting.results.origin import Config, Environment
from latadj.reporting.table import Column, Document, Table, speedup
from latadj.utils.serialization import AT_LEAST_1, Entries, Like, Positive, unstructure

if TYPE_CHECKING:  # a report is made of files, without torch
    from latadj.pruning.acceptance import Evaluation


@dataclass
class PairedComparison:
    """A pruned model beside the full one on one part of the validation split.

    difference : of the metric, positive = better than the full model, with its interval
    """

    examples: int
    full_metric: float
    metric: float
    difference: float
    difference_ci: tuple[float, float]
    full_loss: float
    loss: float

    @classmethod
    def of(cls, examples: int, full_metric: float, evaluation: "Evaluation") -> "PairedComparison":
        """That of an evaluation."""
        return cls(
            examples,
            full_metric,
            evaluation.metric,
            evaluation.difference,
            evaluation.difference_ci,
            evaluation.loss - evaluation.loss_increase,
            evaluation.loss,
        )


@dataclass
class Size:
    """How large a model is.

    parameters : outside the embeddings
    all_parameters : with them
    flops : of the mean text that the search used
    file_bytes : of its weights
    """

    parameters: Annotated[int, AT_LEAST_1]
    all_parameters: int
    flops: Positive
    file_bytes: int


@dataclass
class LayerLeft:
    """What is left of one layer: numbers of its heads, and how many neurons."""

    heads: list[int]
    of_heads: int
    neurons: int
    of_neurons: int

    def cells(self) -> list[str]:
        """Heads and neurons, for a row of a table."""
        pairs = ((len(self.heads), self.of_heads), (self.neurons, self.of_neurons))
        return [f"{left} of {of}" if left else "none" for left, of in pairs]


@dataclass
class PrunedModel:
    """One model that came out.

    budget : None where accuracy was the objective
    validation, holdout : on the texts that the search used, and on those it never saw
    topk_attention : for each layer the keys that a query attends to, or their share; None: all in every layer
    recovered : whether the fine-tuning at the end was worth keeping
    measured_speedup, measured_ci : over the full model, where speed was the objective
    """

    budget: float | None
    folder: str
    validation: PairedComparison
    holdout: PairedComparison
    size: Size
    layers: list[LayerLeft]
    topk_attention: list[TopK] | None
    recovered: bool
    measured_speedup: float | None = None
    measured_ci: tuple[float, float] | None = None


class _Candidate(TypedDict):
    kept: bool


@dataclass
class PruneResult(Result):
    """Everything `latadj prune` found.

    candidates : a ``pruning.search.Candidate`` for every part that was tried
    frontier : the models, the mildest budget first
    topk_trials : a ``pruning.topk_search.TopKTrial`` for every top-k attention that was tried
    seconds : of search and recoveries, over all processes that took part
    """

    SCHEMA: ClassVar[str] = "latadj.prune/2"
    DERIVED: ClassVar[tuple[str, ...]] = ("confirmation", "sizes")
    FILE = "prune"
    PLOT = "plot_structure"

    model: str
    task: str
    metric: str
    objective: str
    tolerance: float
    candidates: Annotated[list[Any], Like(list[_Candidate])]
    frontier: Annotated[list[PrunedModel], Entries(2**10, 1)]
    topk_trials: list[Any]
    full: Size
    seconds: float
    environment: Environment
    config: Config

    def check(self) -> None:
        if len({len(model.layers) for model in self.frontier}) > 1:
            raise ValueError("frontier: not all models have as many layers")
        for model in self.frontier:
            if model.topk_attention is not None:
                TopKAttention.from_json(model.topk_attention)

    def to_json(self) -> dict[str, Any]:
        """JSON form; ``confirmation`` and ``sizes`` are those of the last model of the frontier, for the reader."""
        last = self.frontier[-1]
        derived = {"confirmation": last.holdout, "sizes": {"full": self.full, "pruned": last.size}}
        return {**super().to_json(), **unstructure(derived)}

    def document(self) -> Document:
        """Heads and neurons of each layer, then size and quality of each model."""
        notes = [
            "top-k attention: " + TopKAttention.from_json(model.topk_attention).text()
            for model in self.frontier
            if model.topk_attention is not None
        ]
        structure = structure_table(self.frontier, f"{self.model} on {self.task}: what is left")
        return Document([structure, _worth(self)], notes)


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
        f"{result.metric} on validation text; full model {100 * full.validation.full_metric:.2f} search, "
        f"{100 * full.holdout.full_metric:.2f} hold-out"
    )

    def difference(model: PrunedModel) -> str:
        low, high = (f"{100 * side:+.2f}" for side in model.holdout.difference_ci)
        return f"{100 * model.holdout.difference:+.2f} ({low} to {high})"

    columns = [
        Column("budget", lambda model: "-" if model.budget is None else f"{model.budget:g}"),
        Column("params left", lambda model: model.size.parameters / result.full.parameters, "{:.2f}"),
        Column("FLOPs left", lambda model: model.size.flops / result.full.flops, "{:.2f}"),
        speedup("speedup", lambda model: model.measured_speedup),
        Column("search", lambda model: model.validation.metric, "{:.2f}", 100),
        Column("hold-out", lambda model: model.holdout.metric, "{:.2f}", 100),
        Column("difference", difference),
    ]
    return Table(title, columns, result.frontier)
