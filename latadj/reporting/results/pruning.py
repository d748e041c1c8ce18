"""The result of `latadj prune`, typed, as a table and as a picture of what stays."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.box import SIMPLE_HEAD
from rich.table import Table

from latadj.elimination.topk.setting import TopK, TopKAttention
from latadj.reporting.cells import save_figure, times
from latadj.utils.console import console

if TYPE_CHECKING:  # a report is made of files, without torch
    from latadj.pruning.acceptance import Evaluation
    from latadj.pruning.search import Candidate
    from latadj.pruning.topk_search import TopKTrial

SCHEMA = "latadj.prune/1"
STAYS, GONE, EDGE = "#1f6fb4", "#e6e6e6", "#6b6b6b"


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
    def of(cls, examples: int, full_metric: float, verdict: "Evaluation") -> "PairedComparison":
        """What a judge said."""
        return cls(
            examples,
            full_metric,
            verdict.metric,
            verdict.difference,
            verdict.difference_ci,
            verdict.loss - verdict.loss_increase,
            verdict.loss,
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "PairedComparison":
        """Inverse of ``asdict``."""
        low, high = data["difference_ci"]
        return cls(**{**data, "difference_ci": (low, high)})


@dataclass
class Size:
    """How large a model is.

    parameters : outside the embeddings
    all_parameters : with them
    flops : of the mean text that was judged
    file_bytes : of its weights
    """

    parameters: int
    all_parameters: int
    flops: float
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
    judged, confirmed : on the texts that the search judged by, and on those it never saw
    topk_attention : for each layer the keys that a query attends to, or their share; None: all in every layer
    recovered : whether the fine-tuning at the end was worth keeping
    measured_speedup, measured_ci : over the full model, where speed was the objective
    """

    budget: float | None
    folder: str
    judged: PairedComparison
    confirmed: PairedComparison
    size: Size
    layers: list[LayerLeft]
    topk_attention: list[TopK] | None
    recovered: bool
    measured_speedup: float | None = None
    measured_ci: tuple[float, float] | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "PrunedModel":
        """Inverse of ``asdict``."""
        known = {
            **data,
            "judged": PairedComparison.from_json(data["judged"]),
            "confirmed": PairedComparison.from_json(data["confirmed"]),
            "size": Size(**data["size"]),
            "layers": [LayerLeft(**layer) for layer in data["layers"]],
        }
        if data["measured_ci"] is not None:
            known["measured_ci"] = tuple(data["measured_ci"])
        return cls(**known)


@dataclass
class PruneResult:
    """Everything `latadj prune` found.

    candidates : every part that was tried
    frontier : the models, the mildest budget first
    hard_trials : every hard attention that was tried
    seconds : of search and recoveries, over all processes that took part
    """

    model: str
    task: str
    metric: str
    objective: str
    tolerance: float
    candidates: list["Candidate"]
    frontier: list[PrunedModel]
    hard_trials: list["TopKTrial"]
    full: Size
    seconds: float
    environment: dict[str, Any]
    config: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """JSON form; ``confirmation`` and ``sizes`` are those of the last model of the frontier, for the reader."""
        last = self.frontier[-1]
        sizes = {"full": asdict(self.full), "pruned": asdict(last.size)}
        return {"schema": SCHEMA, **asdict(self), "confirmation": asdict(last.confirmed), "sizes": sizes}


def print_pruning(result: PruneResult) -> None:
    """Show on the terminal what is left of each layer, and what it is worth."""
    table = Table(title=f"{result.model} on {result.task}: what is left", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("layer", justify="right")
    for model in result.frontier:
        for what in ("heads", "neurons"):
            table.add_column(what if model.budget is None else f"{what}\nat {model.budget:g}", justify="right")
    for index in range(len(result.frontier[0].layers)):
        table.add_row(str(index + 1), *(cell for model in result.frontier for cell in model.layers[index].cells()))
    console.print(table)
    full = result.frontier[0]
    title = f"{result.metric} on validation text; full model {100 * full.judged.full_metric:.2f} judged, "
    title += f"{100 * full.confirmed.full_metric:.2f} confirmed"
    summary = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("budget", "params\nleft", "FLOPs\nleft", "speedup", "judged", "confirmed", "difference"):
        summary.add_column(name, justify="right", no_wrap=True)
    for model in result.frontier:
        low, high = (f"{100 * side:+.2f}" for side in model.confirmed.difference_ci)
        summary.add_row(
            "-" if model.budget is None else f"{model.budget:g}",
            f"{model.size.parameters / result.full.parameters:.2f}",
            f"{model.size.flops / result.full.flops:.2f}",
            times(model.measured_speedup) or "-",
            f"{100 * model.judged.metric:.2f}",
            f"{100 * model.confirmed.metric:.2f}",
            f"{100 * model.confirmed.difference:+.2f} ({low} to {high})",
        )
    console.print(summary)
    for model in result.frontier:
        if model.topk_attention is not None:
            console.print("hard attention: " + TopKAttention.from_json(model.topk_attention).text(), markup=False)


def plot_structure(models: Sequence[PrunedModel], path: Path, title: str) -> None:
    """Picture of each model: a square for each head of each layer and a bar for its neurons, blue where they stay."""
    layers = len(models[0].layers)
    most = max(layer.of_heads for layer in models[0].layers)
    bar = max(most * 0.6, 4.0)
    figure = Figure(figsize=(1.2 + 5.2 * len(models), 1.6 + 0.42 * layers), dpi=150)
    panels = figure.subplots(1, len(models), squeeze=False)
    for model, axes in zip(models, panels[0], strict=True):
        for place, layer in enumerate(model.layers):
            for head in range(layer.of_heads):
                colour = STAYS if head in layer.heads else GONE
                axes.add_patch(Rectangle((head + 0.08, place + 0.12), 0.84, 0.76, color=colour))
            start, share = most + 1.0, layer.neurons / layer.of_neurons
            axes.add_patch(Rectangle((start, place + 0.12), bar, 0.76, color=GONE))
            axes.add_patch(Rectangle((start, place + 0.12), bar * share, 0.76, color=STAYS))
            axes.text(start + bar + 0.2, place + 0.5, str(layer.neurons), va="center", fontsize=8, color=EDGE)
        axes.set_xlim(0, most + bar + 3.2)
        axes.set_ylim(0, layers)
        axes.set_yticks([place + 0.5 for place in range(layers)], [f"layer {place + 1}" for place in range(layers)])
        axes.set_xticks([most / 2, most + 1 + bar / 2], ["attention heads", "feed-forward neurons"])
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_title("what stays" if model.budget is None else f"budget {model.budget:g}", loc="left", fontsize=10)
    figure.suptitle(title, x=0.02, ha="left", fontsize=11)
    save_figure(figure, path)
