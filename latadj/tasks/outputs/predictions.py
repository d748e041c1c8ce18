"""Predictions from the logits of a head, and their agreement with another model's."""

import numpy as np
from scipy.special import softmax


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax along the last axis."""
    probabilities: np.ndarray = softmax(logits, axis=-1)
    return probabilities


def predictions_of(logits: np.ndarray, regression: bool) -> np.ndarray:
    """(examples, outputs) logits to (examples,) class numbers, or values for a regression."""
    return logits[:, 0].astype(np.float64) if regression else logits.argmax(axis=-1)


def agreement(ours: np.ndarray, full: np.ndarray, regression: bool) -> float:
    """Share of examples with the full model's prediction; of a regression, correlation with it.

    Parameters
    ----------
    ours, full : (examples,) predictions
    """
    if not regression:
        return float(np.mean(ours == full))
    if np.array_equal(ours, full):
        return 1.0
    return 0.0 if np.ptp(ours) == 0 or np.ptp(full) == 0 else float(np.corrcoef(ours, full)[0, 1])
