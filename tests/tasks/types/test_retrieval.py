"""Retrieval: BEIR's files or plain texts, and the scores of what queries find."""

import numpy as np
import pytest
from helpers.retrieval_data import write_beir
from helpers.toy_project import FILLER

from latadj.config import TaskConfig
from latadj.tasks.metrics.metric import metric_of
from latadj.tasks.types import task_type_of


def task(**options):
    return TaskConfig(name="retrieval", type="retrieval", text=["text"], labels=[], metric="ndcg", **options)


def test_queries_come_first_and_name_their_documents_by_place_and_grade(tmp_path):
    kind = task_type_of(task(data_dir=str(write_beir(tmp_path / "data"))))
    examples = kind.load(train=False).tests["test"]
    assert examples["text"][:] == ["story", "people", "the film", "A title a long story"]
    assert examples["query"][:] == [True, True, False, False]
    # A document that was judged and is not there is never found.
    assert kind.references(examples) == [[1, 2, 0, 1], [-1, 1]]


def test_a_query_without_text_is_left_out(tmp_path):
    folder = write_beir(tmp_path / "data")
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "story"}\n{"_id": "q2", "text": null}')
    examples = task_type_of(task(data_dir=str(folder))).load(train=False).tests["test"]
    assert examples["text"][:] == ["story", "the film", "A title a long story"]


def test_a_query_that_is_a_document_does_not_find_itself(tmp_path):
    folder = write_beir(tmp_path / "data")
    (folder / "queries.jsonl").write_text('{"_id": "d1", "text": "the film"}')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nd1\td2\t1\n")
    kind = task_type_of(task(data_dir=str(folder)))
    examples = kind.load(train=False).tests["test"]
    answers = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert kind.predictions(answers, None, examples) == [[1]]


def test_plain_texts_are_cut_into_queries_and_documents_and_replies_are_left_out(tmp_path):
    lines = [" ".join(FILLER), " ".join(["Re:", *FILLER]), " ".join(["music", *FILLER]), "a film"]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    options = {"data_files": {"test": str(tmp_path / "texts.txt"), "train": str(tmp_path / "texts.txt")}}
    kind = task_type_of(task(query_words=2, documents="row", split={"train": 0.5, "validation": 0.5}, **options))
    examples = kind.load(train=False).tests["test"]
    assert sorted(examples["text"][:2]) == ["music the", "the film"]
    assert kind.references(examples) == [[0, 1], [1, 1]]
    assert all(text not in " ".join(examples["text"][:]) for text in ("Re:", "a film "))


def test_what_is_nearest_by_cosine_is_found_first():
    kind = task_type_of(task())
    examples = {"query": [True, True, False, False, False], "own": [-1] * 5}
    answers = np.array([[1, 0], [0, 2], [0, 1], [5, 1], [-1, 0]], dtype=np.float32)
    assert kind.predictions(answers, None, examples) == [[1, 0, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    ("found", "relevant", "ndcg", "mrr", "recall"),
    [
        ([3, 1, 2], [3, 1], 1.0, 1.0, 1.0),
        ([1, 3, 2], [3, 1], 1 / np.log2(3), 0.5, 1.0),
        ([1, 2], [3, 1, 2, 1], (1 / np.log2(3)) / (1 + 1 / np.log2(3)), 0.5, 0.5),
        ([1, 2], [1, 3, 2, 1], 1.0, 1.0, 1.0),
        ([*range(10), 50], [50, 1], 0.0, 0.0, 1.0),
        ([], [3, 1], 0.0, 0.0, 0.0),
    ],
)
def test_scores_are_those_of_the_definition(found, relevant, ndcg, mrr, recall):
    scores = metric_of("ndcg").scores([found], [relevant])
    assert scores == pytest.approx({"ndcg": ndcg, "mrr": mrr, "recall": recall})


def test_ndcg_of_graded_documents_is_scikit_learns():
    from sklearn.metrics import ndcg_score

    grades = np.array([0, 3, 1, 0, 2, 1])
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.permutation(6).astype(float)
        relevant = [int(value) for place in np.flatnonzero(grades) for value in (place, grades[place])]
        ours = metric_of("ndcg").scores([np.argsort(-scores).tolist()], [relevant])["ndcg"]
        assert ours == pytest.approx(ndcg_score(grades[None], scores[None], k=10))


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ("query-id\tcorpus-id\tscore\nq1\td7\t1\n", "names no document of corpus.jsonl"),
        ("query-id\tcorpus-id\tscore\nq1\td1\tgood\n", "score 'good': expected a whole number"),
        ("query\tdocument\nq1\td1\n", "column 'query-id' is missing"),
    ],
)
def test_judgements_that_fit_nothing_are_one_line(tmp_path, qrels, message):
    kind = task_type_of(task(data_dir=str(write_beir(tmp_path / "data", qrels))))
    with pytest.raises(ValueError, match=message) as error:
        kind.load(train=False)
    assert "\n" not in str(error.value)


def test_an_empty_corpus_is_one_line(tmp_path):
    folder = write_beir(tmp_path / "data")
    (folder / "corpus.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"corpus\.jsonl"):
        task_type_of(task(data_dir=str(folder))).load(train=False)


@pytest.mark.parametrize(
    ("options", "message"), [({}, "names no data: give task.data_dir"), ({"data_dir": "nowhere"}, "no such folder")]
)
def test_missing_data_are_one_line(options, message):
    with pytest.raises(ValueError, match=message):
        task_type_of(task(**options)).load(train=False)


def test_there_is_nothing_to_train_on():
    with pytest.raises(ValueError, match="nothing to train or calibrate on"):
        task_type_of(task()).load(train=True)
