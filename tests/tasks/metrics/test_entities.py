import numpy as np
import pytest
from seqeval import metrics as seqeval
from seqeval.scheme import IOB2

from latadj.tasks.metrics.entities import counts, require_entities
from latadj.tasks.metrics.intervals import score
from latadj.tasks.metrics.metric import metric_of

RIGHT = [
    ["B-PER", "I-PER", "O", "B-LOC"],
    ["O", "B-ORG", "I-ORG", "I-ORG"],
    ["O", "O"],
]
# One person right; a place with the wrong type; a firm cut short; a place where there is none.
SAID = [
    ["B-PER", "I-PER", "O", "B-ORG"],
    ["O", "B-ORG", "I-ORG", "O"],
    ["O", "B-LOC"],
]


def random_tags(count, seed):
    rng = np.random.default_rng(seed)
    names = np.array(["O", "O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    return [rng.choice(names, rng.integers(1, 12)).tolist() for _ in range(count)]


def test_scores_are_those_worked_out_by_hand():
    found = metric_of("entity_f1").scores(SAID, RIGHT)
    # 1 of 4 that were said, 1 of 3 that are there; 7 of 10 words.
    assert found == pytest.approx({"entity_f1": 2 / 7, "precision": 1 / 4, "recall": 1 / 3, "accuracy": 7 / 10})
    assert metric_of("tag_accuracy").scores(SAID, RIGHT) == {"tag_accuracy": 0.7}


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("I-PER I-PER O B-PER", 2),  # IOB1: an entity starts with I-
        ("I-PER B-PER I-PER O", 2),  # IOB1: B- parts neighbours of one type
        ("B-PER I-LOC O O", 2),  # a change of type starts another
        ("S-PER B-LOC E-LOC O", 2),  # IOBES
        ("B-PER I-PER E-PER S-LOC", 2),
        ("O O O O", 0),
    ],
)
def test_schemes_are_read_alike(tags, entities):
    (found,) = counts([tags.split()], [tags.split()])
    assert found.tolist() == [entities, entities, entities, 4, 4]


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_seqevals(seed):
    right, said = random_tags(60, seed), random_tags(60, seed + 100)
    said = [(tags * 12)[: len(other)] for tags, other in zip(said, right, strict=True)]
    found = metric_of("entity_f1").scores(said, right)
    assert found["entity_f1"] == pytest.approx(seqeval.f1_score(right, said), abs=1e-12)
    assert found["precision"] == pytest.approx(seqeval.precision_score(right, said), abs=1e-12)
    assert found["recall"] == pytest.approx(seqeval.recall_score(right, said), abs=1e-12)
    assert found["accuracy"] == pytest.approx(seqeval.accuracy_score(right, said), abs=1e-12)


def test_strict_scores_are_seqevals_strict_mode_and_differ():
    right = [*RIGHT, ["B-PER", "I-PER", "O"]]
    said = [*SAID, ["I-PER", "I-PER", "O"]]  # lenient: the person is there
    strict = metric_of("entity_f1_strict").scores(said, right)
    assert strict["entity_f1_strict"] == pytest.approx(seqeval.f1_score(right, said, mode="strict", scheme=IOB2))
    assert strict["entity_f1_strict"] < metric_of("entity_f1").scores(said, right)["entity_f1"]


def test_strict_scores_of_iob1_are_refused():
    with pytest.raises(ValueError, match=r"I-PER I-PER B-PER break the rules of IOB2.*take task\.metric=entity_f1"):
        metric_of("entity_f1_strict").scores([["O", "O", "O"]], [["I-PER", "I-PER", "B-PER"]])


def test_tags_that_mark_no_entities_are_refused():
    require_entities(["O", "B-PER", "U-LOC"], "entity_f1")
    with pytest.raises(ValueError, match=r"the tag 'NN' marks no entity.*tag_accuracy"):
        require_entities(["NN", "VB"], "entity_f1")


def test_a_metric_of_sentences_is_one_of_evaluates():
    assert metric_of("entity_f1").compute(predictions=RIGHT, references=RIGHT)["entity_f1"] == 1.0


def test_no_entities_anywhere_score_nothing_and_do_not_fail():
    found = metric_of("entity_f1").scores([["O", "O"]], [["O", "O"]])
    assert found == {"entity_f1": 0.0, "precision": 0.0, "recall": 0.0, "accuracy": 1.0}


def test_intervals_resample_sentences():
    right = random_tags(200, 0)
    rng = np.random.default_rng(1)
    full = [tags if rng.random() < 0.8 else ["O"] * len(tags) for tags in right]
    cut = [tags if rng.random() < 0.9 else ["O"] * len(tags) for tags in full]
    found = score("entity_f1", cut, full, right, seed=0)
    assert found.metric == pytest.approx(seqeval.f1_score(right, cut))
    assert found.metric_ci[0] < found.metric < found.metric_ci[1]
    assert 0 < found.drop_ci[0] < found.drop < found.drop_ci[1]
    assert found.drop_ci[1] - found.drop_ci[0] < found.metric_ci[1] - found.metric_ci[0]
