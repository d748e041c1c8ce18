"""Bootstrap intervals of a metric and of a drop in it."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from latadj.tasks.metrics import metric_of

RESAMPLES = 1000


@dataclass
class Scored:
    """A metric and how much of it was lost, each with its 95% interval; ``drop`` in metric points, positive = worse."""

    metric: float
    metric_ci: tuple[float, float]
    drop: float
    drop_ci: tuple[float, float]


def score(metric: str, predictions: np.ndarray, reference_model: np.ndarray, labels: np.ndarray, seed: int) -> Scored:
    """Score predictions, and their drop from a reference model's, over the same resampled examples.

    Parameters
    ----------
    metric : headline name in ``METRICS``
    predictions, reference_model, labels : (examples,)
    """
    scores = metric_of(metric).scores

    def both(ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
        value = scores(ours, truth)[metric]
        return value, scores(theirs, truth)[metric] - value

    value, drop = both(predictions, reference_model, labels)
    if len(labels) < 2:  # nothing to resample
        return Scored(value, (value, value), drop, (drop, drop))
    found = stats.bootstrap(
        (predictions, reference_model, labels),
        both,
        n_resamples=RESAMPLES,
        paired=True,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Scored(value, (float(found.low[0]), float(found.high[0])), drop, (float(found.low[1]), float(found.high[1])))
