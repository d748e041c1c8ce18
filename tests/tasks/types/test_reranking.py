"""Reranking: pairs as rows, the order of candidates, and the loss of a cross-encoder."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers.pair_tokenizers import pair_tokenizer
from torch.nn import functional

from latadj.config import TaskConfig
from latadj.tasks.encoding.batches import PROTECTED, protected_counts, rows_of
from latadj.tasks.metrics.intervals import score
from latadj.tasks.outputs.scores import ScoreOutputs, odds
from latadj.tasks.types import task_type_of
from latadj.training.head_state import HeadStates

EXAMPLES = Dataset.from_dict(
    {
        "query": ["who ?", "what"],
        "documents": [["a b c d", "e f", "g"], ["h", "i j"]],
        "scores": [[0.0, 1.0, 0.5], [1.0, 0.0]],
    }
)


def task(**options):
    given = {"name": "r", "type": "reranking", "text": ["query", "document"], "labels": [], "metric": "ndcg"}
    return TaskConfig(**{**given, **options})


def test_a_row_is_a_pair_whose_query_is_protected():
    tokenizer, kind = pair_tokenizer(), task_type_of(task(protect_query=True))
    encoded = kind.encode(EXAMPLES, tokenizer, 8)
    assert encoded["example"][:] == [0, 0, 0, 1, 1]
    assert encoded["labels"][:] == [0.0, 1.0, 0.5, 1.0, 0.0]
    # [CLS] who ? [SEP] a b c [SEP], cut to eight tokens
    assert tokenizer.decode(encoded["input_ids"][0]) == "[CLS] who ? [SEP] a b c [SEP]"
    assert encoded[PROTECTED][0] == [0, 4, 7, 8]
    assert protected_counts(rows_of(encoded)).tolist() == [5, 5, 5, 4, 4]
    assert protected_counts(rows_of(task_type_of(task()).encode(EXAMPLES, tokenizer, 8))) == 0


def test_candidates_are_ranked_by_their_score_or_by_the_odds_of_two_labels():
    kind, tokenizer = task_type_of(task()), pair_tokenizer()
    encoded = kind.encode(EXAMPLES, tokenizer, 16)
    one = np.array([[0.1], [3.0], [-2.0], [5.0], [5.0]], dtype=np.float32)
    two = np.array([[1.0, 1.1], [-1, 2], [3, 1], [0, 5], [-5, 0]], dtype=np.float32)
    for answers in (one, two):
        assert kind.predictions(answers, encoded, EXAMPLES) == [[1, 0, 2], [0, 1]]
        assert odds(answers) == pytest.approx([0.1, 3, -2, 5, 5])
    assert kind.references(EXAMPLES) == [[1, 1.0, 2, 0.5], [0, 1.0]]
    found = kind.scores([[1, 0, 2], [1, 0]], EXAMPLES)
    gained = (1 + 0.5 / 2) / (1 + 0.5 / np.log2(3))
    assert found == {"ndcg": pytest.approx((gained + 1 / np.log2(3)) / 2), "mrr": pytest.approx(0.75)}


def test_queries_are_what_intervals_are_drawn_from():
    kind = task_type_of(task())
    best, worst = [[1, 2, 0], [0, 1]], [[0, 2, 1], [1, 0]]
    scored = score("ndcg", worst, best, kind.references(EXAMPLES), seed=0)
    each = [kind.scores([one], EXAMPLES.select([place]))["ndcg"] for place, one in enumerate(worst)]
    assert scored.metric == pytest.approx(np.mean(each))
    assert scored.metric_ci == pytest.approx((min(each), max(each)))
    assert scored.drop_ci == pytest.approx((1 - max(each), 1 - min(each)))


def test_the_table_has_the_best_candidate_of_each_query_first():
    kind = task_type_of(task())
    answers = np.array([[0.1], [3.0], [-2.0], [4.0], [5.0]], dtype=np.float32)
    encoded = kind.encode(EXAMPLES, pair_tokenizer(), 16)
    table = kind.table(EXAMPLES, kind.predictions(answers, encoded, EXAMPLES), answers)
    assert table["document"].tolist() == ["e f", "a b c d", "g", "i j", "h"]
    assert table["rank"].tolist() == [1, 2, 3, 1, 2]
    assert table["prediction"].tolist() == pytest.approx([3, 0.1, -2, 5, 4])


def test_models_agree_where_the_same_candidate_is_the_best():
    assert task_type_of(task()).agreement([[1, 0, 2], [1, 0]], [[1, 2, 0], [0, 1]]) == 0.5


def test_the_loss_is_the_binary_cross_entropy_whether_of_one_score_or_of_two_labels():
    scores, labels = torch.tensor([[0.3], [-2.0], [1.0]]), torch.tensor([1.0, 0.0, 0.25])
    expected = functional.binary_cross_entropy(scores[:, 0].sigmoid(), labels)
    assert ScoreOutputs().loss(scores, {"labels": labels}) == pytest.approx(float(expected))
    two, classes = torch.tensor([[0.3, 1.0], [-2.0, 0.0]]), torch.tensor([1.0, 0.0])
    expected = functional.cross_entropy(two, classes.long())
    assert ScoreOutputs().loss(two, {"labels": classes}) == pytest.approx(float(expected))


def test_states_are_distilled_beside_the_scores_with_the_scores_own_loss():
    outputs, labels = torch.tensor([[0.3, 9.0], [-2.0, 9.0]]), torch.tensor([1.0, 0.0])
    found = HeadStates(1, 1.0, ScoreOutputs()).loss(outputs, {"labels": labels})
    assert found == ScoreOutputs().loss(outputs[:, :1], {"labels": labels})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"text": ["query"]}, "text=['query']: expected two columns"),
        ({"labels": ["a"]}, "labels=['a']: expected [] for one score, or two"),
    ],
)
def test_a_config_that_is_no_rerankers_is_refused(options, problem):
    assert problem in "; ".join(task(**options).problems())


def test_a_tokenizer_that_tells_no_query_from_its_document_is_refused():
    with pytest.raises(ValueError, match=r"give task\.protect_query=false"):
        task_type_of(task(protect_query=True)).check_fit(pair_tokenizer("bare"), 16)
    task_type_of(task()).check_fit(pair_tokenizer("bare"), 16)
