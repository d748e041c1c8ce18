"""From a fine-tuned model and text to a dial: layer ACC, families of profiles, search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import CalibrationConfig
from latadj.elimination.attach import at_profile, attached
from latadj.elimination.families import layer_shapes
from latadj.elimination.profile import Dial, Profile
from latadj.elimination.score import effective_fraction
from latadj.outputs import Outputs
from latadj.predict import HEAD, predict
from latadj.search import search_anchors

RANKS = 50
MOST_LENGTHS = 256


@dataclass
class Contribution:
    """What the word-vectors of a calibration set contribute.

    layer_acc : (layers,) effective fraction of word-vectors, averaged over sequences
    by_rank : (layers, RANKS) mean ACC from the strongest to the weakest word-vector, 1 = an equal share
    lengths : (sequences,) real word-vectors
    """

    layer_acc: np.ndarray
    by_rank: np.ndarray
    lengths: np.ndarray


def measure_contribution(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    *,
    outputs: Outputs = HEAD,
    score: str = "acc",
    batch_size: int = 32,
    autocast: torch.dtype | None = None,
) -> Contribution:
    """Run the full model over a calibration set and watch every layer's scores.

    Parameters
    ----------
    model : with elimination attached
    rows : encoded examples of the training split
    outputs : how the model is run
    """
    layers = len(attached(model).default.profile.keep)
    fractions: list[list[Tensor]] = [[] for _ in range(layers)]
    curves: list[list[np.ndarray]] = [[] for _ in range(layers)]

    def observe(layer: int, scores: Tensor, mask: Tensor | None, lengths: Tensor) -> None:
        fractions[layer].append(effective_fraction(scores, lengths).cpu())
        for row, length in zip(scores.cpu().numpy(), lengths.tolist(), strict=True):
            ranked = np.sort(row)[::-1][:length] * length
            curves[layer].append(np.interp(np.linspace(0, length - 1, RANKS), np.arange(length), ranked))

    with at_profile(model, Profile.full(layers), score=score, observer=observe):
        predict(model, tokenizer, rows, outputs=outputs.raw(), batch_size=batch_size, autocast=autocast)
    return Contribution(
        layer_acc=np.array([float(torch.cat(layer).mean()) for layer in fractions]),
        by_rank=np.array([np.mean(layer, axis=0) for layer in curves]),
        lengths=np.array([len(row["input_ids"]) for row in rows]),
    )


def make_dial(model: PreTrainedModel, contribution: Contribution, config: CalibrationConfig) -> Dial:
    """A dial of the families that need no search, standing on ``acc``."""
    lengths = np.sort(contribution.lengths)
    if len(lengths) > MOST_LENGTHS:
        # Evenly spaced order statistics keep the distribution and a short file.
        lengths = lengths[np.linspace(0, len(lengths) - 1, MOST_LENGTHS).round().astype(int)]
    return Dial(
        layer_acc=tuple(float(value) for value in contribution.layer_acc),
        lengths=tuple(int(length) for length in lengths),
        shapes=layer_shapes(model),
        reads=attached(model).reads,
        max_speedup=config.max_speedup,
        max_flops=config.max_flops,
        every=config.every,
        family="acc",
        score=config.score,
    )


def add_search(
    dial: Dial,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    *,
    speedups: Sequence[float],
    trials: int,
    seed: int,
    outputs: Outputs = HEAD,
    batch_size: int = 64,
    autocast: torch.dtype | None = None,
    advance: Callable[[float, float], None] = lambda speedup, best: None,
) -> Dial:
    """The dial with searched profiles added, standing on ``searched``.

    Parameters
    ----------
    rows : encoded examples of the training split; the divergence from the full model is measured on these
    speedups, trials, seed, advance : as in :func:`latadj.search.search_anchors`
    outputs : how the model's answers are read
    """

    def logits(profile: Profile) -> np.ndarray:
        with at_profile(model, profile, score=dial.score):
            return predict(model, tokenizer, rows, outputs=outputs, batch_size=batch_size, autocast=autocast)

    full = logits(Profile.full(dial.layers))
    anchors = search_anchors(
        dial,
        lambda profile: divergence(full, logits(profile)),
        [speedup for speedup in speedups if speedup <= dial.max_speedup],
        trials,
        seed,
        advance,
    )
    return replace(dial, family="searched", anchors=anchors) if anchors else dial


def divergence(full: np.ndarray, cut: np.ndarray) -> float:
    """Mean divergence of outputs from the full model's: two (examples, outputs) arrays of logits.

    Kullback-Leibler divergence in nats for classes, mean squared error for a regression.
    """
    if full.shape[1] == 1:
        return float(np.mean((full - cut) ** 2))
    log_full, log_cut = _log_softmax(full), _log_softmax(cut)
    return float(np.mean(np.sum(np.exp(log_full) * (log_full - log_cut), axis=1)))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_softmax: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_softmax
