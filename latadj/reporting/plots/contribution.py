"""Where contribution lies."""

from pathlib import Path

import numpy as np

from latadj.calibration.acc import Contribution
from latadj.reporting.plots.figure import new_figure, save


def plot_contribution(contribution: Contribution, path: Path, title: str) -> None:
    """Heat map: ACC of tokens from strongest to weakest in each layer, layer ACC beside it."""
    shares = contribution.by_rank
    layers, ranks = shares.shape
    figure = new_figure(height=1.6 + 0.42 * layers)
    axes = figure.subplots()
    image = axes.imshow(np.log2(np.clip(shares, 1 / 16, 16)), aspect="auto", cmap="viridis", vmin=-4, vmax=4)
    for layer, value in enumerate(contribution.layer_acc):
        axes.plot([value * ranks - 0.5] * 2, [layer - 0.5, layer + 0.5], color="white", linewidth=2)
        axes.text(ranks + 0.3, layer, f"{value:.2f}", va="center", fontsize=9)
    axes.set_yticks(range(layers), [f"layer {layer}" for layer in range(1, layers + 1)])
    axes.set_xticks(np.linspace(-0.5, ranks - 0.5, 5), ["strongest", "25%", "50%", "75%", "weakest"])
    axes.set_xlabel("tokens by Attention Context Contribution; white: layer ACC, at right in numbers")
    axes.set_title(title, loc="left", fontsize=11)
    bar = figure.colorbar(image, ax=axes, pad=0.09, ticks=[-4, -2, 0, 2, 4])
    bar.ax.set_yticklabels(["1/16", "1/4", "1", "4", "16"])
    bar.set_label("times an equal share")
    save(figure, path)
