"""Bootstrap intervals of a metric and of what was lost of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from latadj.tasks.metrics.metric import metric_of

RESAMPLES = 1000


@dataclass
class Scored:
    """A metric and how much of it was lost, each with its interval; ``drop`` in metric points, positive = worse."""

    metric: float
    metric_ci: tuple[float, float]
    drop: float
    drop_ci: tuple[float, float]


def score(
    metric: str, predictions: Any, reference_model: Any, labels: Any, seed: int, confidence: float = 0.95
) -> Scored:
    """Score predictions, and their drop from a reference model's, over the same resampled examples.

    Parameters
    ----------
    metric : headline name in ``METRICS``
    predictions, reference_model, labels : (examples,), of what the metric compares
    confidence : of both intervals
    """
    measure = metric_of(metric)
    # Counted once, so that a resampling only has to add up.
    counts, reference_counts = measure.per_example(predictions, labels), measure.per_example(reference_model, labels)

    def both(drawn: np.ndarray) -> tuple[float, float]:
        value = measure.aggregate(counts[drawn])[metric]
        return value, measure.aggregate(reference_counts[drawn])[metric] - value

    everything = np.arange(len(labels))
    value, drop = both(everything)
    if len(labels) < 2:  # nothing to resample
        return Scored(value, (value, value), drop, (drop, drop))
    interval = stats.bootstrap(
        (everything,),
        both,
        n_resamples=RESAMPLES,
        vectorized=False,
        method="percentile",
        confidence_level=confidence,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    (low, lower), (high, higher) = interval.low.tolist(), interval.high.tolist()
    return Scored(value, (low, high), drop, (lower, higher))


@dataclass
class ScoredPerplexity:
    """A perplexity and its increase over another, 0.05 = 5% more, each with its 95% interval over documents."""

    metric: float
    metric_ci: tuple[float, float]
    increase: float
    increase_ci: tuple[float, float]


def score_perplexity(
    nll: np.ndarray, reference_nll: np.ndarray, tokens: np.ndarray, documents: np.ndarray, seed: int
) -> ScoredPerplexity:
    """Perplexity, and its increase over a reference's on the same continuations.

    All windows of one document are drawn together: they share their subject and their style, so each of them tells
    less than an independent one would.

    Parameters
    ----------
    nll, reference_nll, tokens : (examples,) negative log-likelihoods in nats and the tokens that they sum over
    documents : (examples,) which document each example is from
    """
    _, document = np.unique(documents, return_inverse=True)
    sums = [np.bincount(document, weights=values) for values in (nll, reference_nll, tokens)]

    def both(nll: np.ndarray, reference_nll: np.ndarray, tokens: np.ndarray, axis: int = -1) -> np.ndarray:
        total = tokens.sum(axis=axis)
        mean, reference = nll.sum(axis=axis) / total, reference_nll.sum(axis=axis) / total
        return np.stack([np.exp(mean), np.expm1(mean - reference)])

    value, increase = map(float, both(sums[0], sums[1], sums[2]))
    if len(sums[0]) < 2:  # nothing to resample
        return ScoredPerplexity(value, (value, value), increase, (increase, increase))
    interval = stats.bootstrap(
        sums,
        both,
        n_resamples=RESAMPLES,
        paired=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    (low, lower), (high, higher) = interval.low.tolist(), interval.high.tolist()
    return ScoredPerplexity(value, (low, high), increase, (lower, higher))
