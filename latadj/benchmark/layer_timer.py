"""Times every layer of a model inside its own passes, where its weights are as cold as they will be in service."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from latadj.benchmark.stopwatch import stopwatch
from latadj.elimination.architectures import layers_of


def time_layers(model: PreTrainedModel, run: Callable[[], object], device: torch.device) -> np.ndarray:
    """Seconds of one pass, layer by layer.

    Parameters
    ----------
    run : runs the model once

    Returns
    -------
    (layers + 1,) seconds of each layer, and last the rest of the pass: embeddings, head and calls
    """
    layers = layers_of(model)
    watch = stopwatch(device)
    entered: list[float] = []
    left: list[float] = []

    def mark(times: list[float]) -> Callable[..., None]:
        def hook(module: nn.Module, *args: Any) -> None:
            watch.wait()  # layer by layer a GPU never runs ahead, so its short layers look longer than they are
            times.append(time.perf_counter())

        return hook

    hooks = [layer.register_forward_pre_hook(mark(entered)) for layer in layers]
    hooks += [layer.register_forward_hook(mark(left)) for layer in layers]
    try:
        total = watch.time(run)
    finally:
        for hook in hooks:
            hook.remove()
    each = np.array(left) - np.array(entered)
    return np.append(each, total - each.sum())
