"""GLUE's metrics on 1,000 random cases each: equal to scikit-learn, to scipy and to their definitions, to 1e-9.

The cases have 2 to 400 examples, classes of any share, and predictions from right to random to all alike, with ties.
"""

import math
import warnings
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from latadj.tasks.metrics.intervals import score
from latadj.tasks.metrics.metric import METRICS

CASES = 200
pytestmark = pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")


def near(found, expected):
    return abs(found - expected) <= 1e-9


def class_case(seed, classes):
    """Predictions and labels of a seed; every tenth predicts one class only, every seventh has one label only."""
    rng = np.random.default_rng([classes, seed])
    count = int(rng.integers(2, 400))
    shares = rng.dirichlet(np.full(classes, rng.choice([0.2, 1.0, 5.0])))
    labels = rng.choice(classes, size=count, p=shares)
    predictions = np.where(rng.random(count) < rng.random(), labels, rng.integers(0, classes, count))
    if seed % 10 == 0:
        predictions[:] = rng.integers(0, classes)
    if seed % 7 == 0:
        labels[:] = rng.integers(0, classes)
    return predictions, labels


def value_case(seed):
    """Predictions and values of a seed: as STS-B has them, with more or fewer ties; every tenth is all alike."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 400))
    values = rng.uniform(0, 5, count)
    predictions = values * rng.choice([-1, 1, 1]) + rng.normal(0, rng.choice([0.01, 1, 10]), count)
    if seed % 2:
        values, predictions = values.round(int(rng.integers(0, 3))), predictions.round(int(rng.integers(0, 3)))
    if seed % 10 == 0:
        predictions[:] = predictions[0]
    if seed % 35 == 0:
        values[:] = values[0]
    return predictions, values


def counts(predictions, labels):
    """True positives, false positives, false negatives and true negatives, of class 1."""
    pairs = Counter(zip(predictions.tolist(), labels.tolist(), strict=True))
    return pairs[1, 1], pairs[1, 0], pairs[0, 1], pairs[0, 0]


def defined_matthews(predictions, labels):
    tp, fp, fn, tn = counts(predictions, labels)
    under = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(under) if under else 0.0


def defined_f1(predictions, labels):
    tp, fp, fn, _ = counts(predictions, labels)
    if tp == 0:
        return 0.0
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return 2 * precision * recall / (precision + recall)


def defined_pearson(first, second):
    """By exactly rounded sums of deviations; 0 where one side is constant."""
    first, second = list(map(float, first)), list(map(float, second))
    middle, other = math.fsum(first) / len(first), math.fsum(second) / len(second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        return 0.0
    together = math.fsum((a - middle) * (b - other) for a, b in zip(first, second, strict=True))
    spread = math.sqrt(math.fsum((a - middle) ** 2 for a in first) * math.fsum((b - other) ** 2 for b in second))
    return together / spread


def average_ranks(values):
    """Places from 1; those that are alike share the mean of their places."""
    places = {}
    for place, value in enumerate(sorted(values.tolist()), start=1):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in values.tolist()]


def test_matthews_of_two_classes():
    for seed in range(CASES):
        predictions, labels = class_case(seed, classes=2)
        found = METRICS["matthews_correlation"].scores(predictions, labels)["matthews_correlation"]
        assert near(found, matthews_corrcoef(labels, predictions)), seed
        assert near(found, defined_matthews(predictions, labels)), seed


def test_matthews_of_several_classes():
    for seed in range(CASES):
        predictions, labels = class_case(seed, classes=3 + seed % 5)
        found = METRICS["matthews_correlation"].scores(predictions, labels)["matthews_correlation"]
        assert near(found, matthews_corrcoef(labels, predictions)), seed


def test_f1_and_accuracy():
    for seed in range(CASES):
        predictions, labels = class_case(seed, classes=2)
        found = METRICS["f1"].scores(predictions, labels)
        assert near(found["f1"], f1_score(labels, predictions, zero_division=0.0)), seed
        assert near(found["f1"], defined_f1(predictions, labels)), seed
        assert near(found["accuracy"], accuracy_score(labels, predictions)), seed


def test_accuracy_of_two_and_of_three_classes():
    for seed in range(CASES):
        predictions, labels = class_case(seed, classes=2 + seed % 2)
        found = METRICS["accuracy"].scores(predictions, labels)["accuracy"]
        assert near(found, accuracy_score(labels, predictions)), seed
        assert near(found, sum(map(np.equal, predictions, labels)) / len(labels)), seed


def test_pearson_and_spearman():
    constant = 0
    for seed in range(CASES):
        predictions, values = value_case(seed)
        found = METRICS["pearson"].scores(predictions, values)
        assert near(found["pearson"], defined_pearson(predictions, values)), seed
        assert near(found["spearman"], defined_pearson(average_ranks(predictions), average_ranks(values))), seed
        if np.ptp(predictions) == 0 or np.ptp(values) == 0:
            assert found == {"pearson": 0.0, "spearman": 0.0}
            constant += 1
            continue
        assert near(found["pearson"], stats.pearsonr(predictions, values).statistic), seed
        assert near(found["spearman"], stats.spearmanr(predictions, values).statistic), seed
    assert constant >= CASES // 10


@pytest.mark.parametrize("name", ["accuracy", "matthews_correlation", "f1", "pearson"])
@pytest.mark.parametrize(
    ("predictions", "labels"),
    [([0, 0, 0], [0, 1, 0]), ([1, 1, 1], [0, 1, 0]), ([0, 1, 0], [0, 0, 0]), ([0, 0, 0], [0, 0, 0]), ([1], [1])],
)
def test_nothing_is_ever_undefined_and_nobody_is_warned(name, predictions, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = METRICS[name].scores(np.asarray(predictions), np.asarray(labels))
    assert all(0.0 <= value <= 1.0 for value in found.values())
    constant = len(set(predictions)) == 1 or len(set(labels)) == 1
    if constant and name in ("matthews_correlation", "pearson"):
        assert set(found.values()) == {0.0}


def test_matthews_holds_for_as_many_examples_as_qqp_has():
    rng = np.random.default_rng(0)
    labels = (rng.random(400_000) < 0.37).astype(np.int64)
    predictions = np.where(rng.random(400_000) < 0.9, labels, 1 - labels)
    found = METRICS["matthews_correlation"].scores(predictions, labels)["matthews_correlation"]
    assert near(found, matthews_corrcoef(labels, predictions))


def test_intervals_stand_on_the_same_metrics():
    predictions, labels = class_case(3, classes=2)
    found = score("f1", predictions, labels, labels, seed=0)
    assert found.metric_ci[0] <= found.metric <= found.metric_ci[1]
    assert near(found.metric, f1_score(labels, predictions))
    assert near(found.drop, 1 - found.metric)
