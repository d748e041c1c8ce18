"""What pruning left."""

from pathlib import Path

from matplotlib.patches import Rectangle

from latadj.reporting.plots.figure import BLUE, GREY, new_figure, save
from latadj.reporting.results.pruning import PruneResult

GONE = "#e6e6e6"


def plot_structure(result: PruneResult, path: Path) -> None:
    """Picture of each model: a square for each head of each layer and a bar for its neurons, blue where they stay."""
    models = result.frontier
    layers = len(models[0].layers)
    most = max(layer.of_heads for layer in models[0].layers)
    bar = max(most * 0.6, 4.0)
    figure = new_figure(1.2 + 5.2 * len(models), 1.6 + 0.42 * layers)
    panels = figure.subplots(1, len(models), squeeze=False)
    for model, axes in zip(models, panels[0], strict=True):
        for place, layer in enumerate(model.layers):
            for head in range(layer.of_heads):
                colour = BLUE if head in layer.heads else GONE
                axes.add_patch(Rectangle((head + 0.08, place + 0.12), 0.84, 0.76, color=colour))
            start, share = most + 1.0, layer.neurons / layer.of_neurons
            axes.add_patch(Rectangle((start, place + 0.12), bar, 0.76, color=GONE))
            axes.add_patch(Rectangle((start, place + 0.12), bar * share, 0.76, color=BLUE))
            axes.text(start + bar + 0.2, place + 0.5, str(layer.neurons), va="center", fontsize=8, color=GREY)
        axes.set_xlim(0, most + bar + 3.2)
        axes.set_ylim(0, layers)
        axes.set_yticks([place + 0.5 for place in range(layers)], [f"layer {place + 1}" for place in range(layers)])
        axes.set_xticks([most / 2, most + 1 + bar / 2], ["attention heads", "feed-forward neurons"])
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_title("what stays" if model.budget is None else f"budget {model.budget:g}", loc="left", fontsize=10)
    figure.suptitle(f"{result.model} on {result.task}: blue stays", x=0.02, ha="left", fontsize=11)
    save(figure, path)
