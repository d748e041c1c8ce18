import evaluate
import numpy as np
import pytest

from latadj.tasks.metrics.metric import METRICS, metric_of
from latadj.tasks.outputs.logits import decisions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", {"accuracy": 4 / 6}),
        ("matthews_correlation", {"matthews_correlation": (2 * 2 - 1 * 1) / np.sqrt(3 * 3 * 3 * 3)}),
        ("f1", {"f1": 2 * 2 / (2 * 2 + 1 + 1), "accuracy": 4 / 6}),
    ],
)
def test_classification_metrics_by_hand(name, expected):
    found = metric_of(name).compute(predictions=[1, 1, 0, 0, 1, 0], references=[1, 1, 0, 0, 0, 1])
    assert found == pytest.approx(expected)


def test_stsb_gives_pearson_first_and_spearman():
    found = metric_of("pearson").compute(predictions=[1.0, 2.0, 9.0], references=[1.0, 2.0, 3.0])
    assert list(found) == ["pearson", "spearman"]
    assert found["spearman"] == pytest.approx(1.0)
    assert found["pearson"] < 1


def test_perplexity_is_of_a_token_and_less_is_better():
    found = metric_of("perplexity").compute(predictions=[6.0, 2.0], references=[3, 1])
    assert found == pytest.approx({"perplexity": np.exp(2.0)})
    assert [name for name in METRICS if not metric_of(name).greater_is_better] == ["perplexity"]


@pytest.mark.parametrize(
    "name", [name for name, metric in METRICS.items() if metric.task_type in ("classification", "generation")]
)
def test_constant_predictions_score_and_do_not_fail(name):
    found = metric_of(name).compute(predictions=[0, 0, 0, 0], references=[0, 1, 0, 1])
    by_chance = {"accuracy": 0.5, "matthews_correlation": 0.0, "f1": 0.0, "pearson": 0.0, "spearman": 0.0}
    assert found == {key: by_chance.get(key, 1.0) for key in found}  # e to the power of no loss at all


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_model_that_answers_no_number_explains_nothing(broken):
    found = metric_of("pearson").compute(predictions=[1.0, 2.0, broken], references=[1.0, 2.0, 3.0])
    assert found == {"pearson": 0.0, "spearman": 0.0}


def test_add_batch_and_combine_work_as_users_know_them():
    metric = metric_of("accuracy")
    metric.add_batch(predictions=[1, 0], references=[1, 1])
    metric.add_batch(predictions=[1, 1], references=[1, 1])
    assert metric.compute() == {"accuracy": 0.75}
    both = evaluate.combine([metric_of("accuracy"), metric_of("matthews_correlation")])
    assert set(both.compute(predictions=[1, 0], references=[1, 0])) == {"accuracy", "matthews_correlation"}


def test_an_unknown_metric_names_those_there_are():
    with pytest.raises(ValueError, match="expected one of accuracy, matthews_correlation, f1, pearson"):
        metric_of("bleu")


def test_predictions_are_classes_or_values():
    logits = np.array([[0.1, 0.9], [2.0, -1.0]])
    assert decisions(logits, regression=False).tolist() == [1, 0]
    assert decisions(logits[:, :1], regression=True).tolist() == [0.1, 2.0]
