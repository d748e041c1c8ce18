"""Queries with candidates, out of files and out of plain texts, and what is refused."""

import pytest
from datasets import Dataset
from helpers.ranking_data import write_rows
from helpers.toy_project import FILLER

from latadj.config import FilesConfig, HubConfig, TaskConfig
from latadj.tasks.types import task_type_of

TRIPLETS = [
    {"query": "q1", "positive": "yes", "negatives": ["no", "never"]},
    {"query": "q2", "positive": ["one", "two"], "negatives": ["three"]},
]
SCORED = [
    {"query": "q3", "document": "a", "score": 0.25},
    {"query": "q3", "document": "b", "score": 1},
    {"query": "q3", "document": "a", "score": 0.5},
]
HALVES = {"train": 0.5, "validation": 0.5}


def load(data_files, *, train=False, **options):
    given = {"name": "r", "type": "reranking", "text": ["query", "document"], "labels": [], "metric": "ndcg"}
    return task_type_of(TaskConfig(**given, data_files=data_files, **options)).load(train=train)


def candidates(split):
    return {row["query"]: dict(zip(row["documents"], row["scores"], strict=True)) for row in split.to_list()}


def test_triplets_and_scored_pairs_become_queries_with_candidates(tmp_path):
    path = write_rows(tmp_path / "test.jsonl", [*TRIPLETS, *SCORED])
    assert candidates(load({"test": str(path)}).tests["test"]) == {
        "q1": {"yes": 1, "no": 0, "never": 0},
        "q2": {"one": 1, "two": 1, "three": 0},
        "q3": {"a": 0.5, "b": 1},
    }


def test_scored_pairs_may_be_csv(tmp_path):
    (tmp_path / "test.csv").write_text("query,document,score\nq,a,0\nq,b,0.5\n")
    assert candidates(load({"test": str(tmp_path / "test.csv")}).tests["test"]) == {"q": {"a": 0, "b": 0.5}}


def test_the_order_of_candidates_does_not_know_their_scores(tmp_path):
    rows = [{"query": f"q{n}", "positive": f"p{n}", "negatives": [f"n{n}"]} for n in range(200)]
    split = load({"test": str(write_rows(tmp_path / "test.jsonl", rows))}).tests["test"]
    first = sum(scores[0] for scores in split["scores"])
    assert 70 < first < 130


def test_splits_are_cut_by_query_so_that_no_query_is_in_two(tmp_path):
    rows = [{"query": f"q{n % 60}", "document": f"d{n}", "score": n % 7 / 6} for n in range(240)]
    splits = load(str(write_rows(tmp_path / "all.jsonl", rows)), train=True)
    parts = [set(candidates(part)) for part in (splits.train, splits.validation, splits.tests["test"])]
    assert all(parts)
    assert sum(map(len, parts)) == 60
    assert set.union(*parts) == {f"q{n}" for n in range(60)}


def test_queries_with_nothing_to_rank_are_left_out_of_tests_and_trained_on(tmp_path, caplog):
    lonely = {"query": "q9", "positive": "only"}
    path = str(write_rows(tmp_path / "rows.jsonl", [*TRIPLETS, lonely]))
    splits = load({"train": path, "validation": path, "test": path}, train=True)
    assert set(candidates(splits.train)) == {"q1", "q2", "q9"}
    assert set(candidates(splits.tests["test"])) == {"q1", "q2"}
    assert "left out 1 of 3 test queries, whose candidates all have one score" in caplog.text


def test_plain_texts_are_cut_into_queries_and_the_rests_of_others_of_their_label_are_negatives(tmp_path):
    lines = [
        f"{label}\t{' '.join([label, f'subject{n}', *FILLER])} end{n}" for label in ("cars", "space") for n in range(20)
    ]
    for name in ("train.tsv", "test.tsv"):
        (tmp_path / name).write_text("\n".join(["group\tbody", *lines, "cars\tre an answer to another post of all"]))
    files = FilesConfig("tsv", "train.tsv", test=["test.tsv"], columns={"text": "body", "label": "group"})
    given = {"files": files, "data_dir": str(tmp_path), "query_words": 2, "negatives": 3, "split": HALVES}
    splits = load(None, train=True, **given)
    found = candidates(splits.tests["test"])
    assert len(found) == 40
    for query, own in found.items():
        assert sorted(own.values()) == [0, 0, 0, 1]
        (answer,) = (text for text, score in own.items() if score)
        assert answer == f"{' '.join(FILLER)} end{query.split('subject')[1]}"
    assert found == candidates(load(None, train=True, **given).tests["test"])
    assert not set(candidates(splits.train)) & set(candidates(splits.validation))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"positive": "a"}], r"column 'query' is missing; there are positive"),
        ([{"query": "q"}], r"column 'document' is missing; there are query; or give positive and negatives"),
        ([{"query": "q", "document": "d"}], "column 'score' is missing"),
        ([*TRIPLETS, {"query": "q"}], "row 3: it has neither positive nor document"),
        ([*TRIPLETS, {"query": "", "positive": "a"}], "row 3: query '': expected a text"),
        ([{"query": "q", "positive": "a", "negatives": ["b", 3]}], "row 1: negatives '3': expected a text"),
        ([{"query": "q", "positive": "a", "negatives": [" "]}], "row 1: negatives ' ': expected a text"),
        ([*SCORED, {"query": "q", "document": "d", "score": 3}], "row 4: score 3.*: expected a number from 0 to 1"),
        ([*SCORED, {"query": "q", "document": "d"}], "row 4: score nan: expected a number from 0 to 1"),
        ([{"query": "q", "positive": "a"}], "there is nothing to rank in its test examples: in each of 1 queries"),
    ],
)
def test_files_that_are_not_as_they_should_be(tmp_path, rows, message):
    path = write_rows(tmp_path / "test.jsonl", rows)
    with pytest.raises(ValueError, match=message) as found:
        load({"test": str(path)})
    assert "\n" not in str(found.value)


def test_training_on_one_score_alone_is_refused(tmp_path):
    alike = write_rows(tmp_path / "train.jsonl", [{"query": f"q{n}", "positive": "a"} for n in range(9)])
    test = write_rows(tmp_path / "test.jsonl", TRIPLETS)
    files = {"train": str(alike), "validation": str(test), "test": str(test)}
    with pytest.raises(ValueError, match="all training documents have the score 1; there is nothing to learn"):
        load(files, train=True)


def test_a_test_file_alone_cannot_be_trained_on(tmp_path):
    path = write_rows(tmp_path / "test.jsonl", TRIPLETS)
    with pytest.raises(ValueError, match="it has no training examples"):
        load({"test": str(path)}, train=True)


def test_a_task_without_files_says_what_it_reads():
    with pytest.raises(ValueError, match="whose rows hold query, positive and negatives, or query, document and score"):
        load(None)


def test_a_data_set_of_the_hub_may_hold_triplets(monkeypatch):
    split = Dataset.from_list([{"query": row["query"], "positive": "yes", "negatives": ["no"]} for row in TRIPLETS])
    loaded = {"train": split, "validation": split, "test": split}
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: loaded)
    splits = load(None, train=True, hub=HubConfig("some/where", validation="validation", test=["test"]))
    expected = {"q1": {"yes": 1, "no": 0}, "q2": {"yes": 1, "no": 0}}
    assert candidates(splits.train) == candidates(splits.tests["test"]) == expected
