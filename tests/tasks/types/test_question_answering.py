"""What question answering asks of a head: rows, loss, protection, splits."""

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from helpers import answer_data as quiz
from helpers.tiny_models import tiny
from transformers import BertTokenizerFast

from latadj.config import FilesConfig, HubConfig, TaskConfig
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile, protecting
from latadj.elimination.profiles import Profile
from latadj.tasks.data.questions import load_questions
from latadj.tasks.encoding.batches import (
    IGNORED,
    MODEL_INPUTS,
    PROTECTED,
    Collator,
    pad,
    position_mask,
    protected_counts,
    rows_of,
)
from latadj.tasks.outputs.logits import SpanOutputs
from latadj.tasks.outputs.predict import predict
from latadj.tasks.types.question_answering import QuestionAnswering

HARSH = Profile((0.4, 0.3, 0.2, 0.1))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop", "who", "?"]
    path = tmp_path_factory.mktemp("letters") / "vocab.txt"
    path.write_text("\n".join(words))
    return BertTokenizerFast(str(path))


def task(**options):
    given = {"name": "squad", "type": "question_answering", "text": ["question", "context"], "metric": "squad_f1"}
    return TaskConfig(**{**given, "max_length": 12, "doc_stride": 2, "max_query_length": 3, **options})


def table(*rows):
    """Questions out of (context, answer or None)."""
    return Dataset.from_list(
        [
            {
                "id": f"q{number}",
                "title": "",
                "context": context,
                "question": "who ?",
                "texts": [answer] if answer else [],
                "starts": [context.index(answer)] if answer else [],
            }
            for number, (context, answer) in enumerate(rows)
        ]
    )


def test_rows_say_where_answers_may_be_and_are(tokenizer):
    kind = QuestionAnswering(task(protect_query=True))
    encoded = kind.encode(table(("a b c d", "b c"), ("a b c d e f g h i j", "i")), tokenizer, 12)
    assert encoded["example"][:] == [0, 1, 1]
    first = encoded[0]
    # [CLS] who ? [SEP] a b c d [SEP]
    assert first["labels"] == [0, IGNORED, IGNORED, IGNORED, 0, 1, 2, 0, IGNORED]
    assert first["positions"] == [0, 4, 5, 6, 7]
    assert (first["null"], first["length"], first[PROTECTED]) == (0, 9, [1, 3])
    assert first["offsets"] == [0, 1, 2, 3, 4, 5, 6, 7]
    # Neither all of the answer nor a part of it: the pooled position is both start and end.
    assert encoded[1]["labels"][0] == 3
    assert encoded[2]["labels"].count(3) == 1
    assert encoded[2]["labels"][0] == 0


def test_questions_are_protected_only_if_asked_for(tokenizer):
    rows = rows_of(QuestionAnswering(task()).encode(table(("a b", "b")), tokenizer, 12))
    assert PROTECTED not in rows[0]
    assert protected_counts(rows) == 0
    rows = rows_of(QuestionAnswering(task(protect_query=True)).encode(table(("a b", "b")), tokenizer, 12))
    assert protected_counts(rows).tolist() == [3]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_batch_marks_what_is_protected_wherever_padding_is(tokenizer, side):
    kind = QuestionAnswering(task(protect_query=True))
    rows = rows_of(kind.encode(table(("a b c d", "b"), ("a", "a")), tokenizer, 12))
    tokenizer.padding_side = side
    try:
        batch = pad(rows, tokenizer)
        places = position_mask(rows, batch)
    finally:
        tokenizer.padding_side = "right"
    marked = [
        tokenizer.convert_ids_to_tokens(ids[real])
        for ids, real in zip(batch["input_ids"], batch[PROTECTED], strict=True)
    ]
    assert marked == [["who", "?"], ["who", "?"]]
    read = [tokenizer.convert_ids_to_tokens(ids[real]) for ids, real in zip(batch["input_ids"], places, strict=True)]
    assert read == [["[CLS]", "a", "b", "c", "d"], ["[CLS]", "a"]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_loss_is_a_softmax_over_the_places_that_may_be_answers(tokenizer, side):
    kind = QuestionAnswering(task())
    encoded = kind.encode(table(("a b c d", "b c"), ("a b", None)), tokenizer, 12)
    tokenizer.padding_side = side
    try:
        batch = Collator(tokenizer, SpanOutputs.targets)([dict(row) for row in encoded])
    finally:
        tokenizer.padding_side = "right"
    logits = torch.randn(*batch["input_ids"].shape, 2, generator=torch.Generator().manual_seed(0))
    real = batch["labels"] != IGNORED
    one, other = (logits[row][real[row]].log_softmax(0) for row in range(2))
    # Candidates: [CLS] a b c d, from b to c; and [CLS] a b, with none.
    expected = -(one[2, 0] + one[3, 1] + other[0, 0] + other[0, 1]) / 4
    assert SpanOutputs().loss(logits, {"labels": batch["labels"]}) == pytest.approx(float(expected), abs=1e-6)


def test_divergence_is_of_where_answers_start_and_end():
    spans = SpanOutputs()
    full = [torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 1.0]])]
    cut = [torch.zeros(3, 2), torch.tensor([[0.0, 0.0], [3.0, 1.0]])]
    assert spans.divergence(full, full) == pytest.approx(0.0, abs=1e-6)
    wanted = full[0].softmax(0)
    expected = float((wanted * (wanted.log() - np.log(1 / 3))).sum(0).mean()) / 2
    assert spans.divergence(cut, full) == pytest.approx(expected, abs=1e-6)
    numbers = [[row.numpy() for row in rows] for rows in (full, cut)]
    assert spans.agreement(numbers[0], numbers[0]) == 1.0
    assert spans.agreement(numbers[1], numbers[0]) == 0.5


@pytest.mark.parametrize("protect", [True, False])
def test_the_head_runs_with_the_question_protected(tokenizer, protect):
    kind = QuestionAnswering(task(protect_query=protect))
    rows = rows_of(kind.encode(table(("a b c d e", "b"), ("a b", "a")), tokenizer, 12))
    model = attach(tiny("bert", "reader", num_labels=2))
    with at_profile(model, HARSH):
        found = predict(model, tokenizer, rows, outputs=kind.outputs)
        for number, row in enumerate(rows):
            (alone,) = predict(model, tokenizer, [row], outputs=kind.outputs)
            assert np.allclose(alone, found[number], atol=1e-5)
            batch = pad([{name: row[name] for name in MODEL_INPUTS}], tokenizer)
            marks = torch.zeros_like(batch["input_ids"])
            marks[:, 1:3] = protect
            with torch.no_grad(), protecting(model, marks):
                said = model(**batch)
            expected = torch.stack([said.start_logits[0], said.end_logits[0]], dim=-1)[row["positions"]]
            assert np.allclose(alone, expected.numpy(), atol=1e-5)


def test_a_plain_model_reads_protected_rows_as_any_others(tokenizer):
    rows = rows_of(QuestionAnswering(task(protect_query=True)).encode(table(("a b c", "b")), tokenizer, 12))
    model = tiny("bert", "reader", num_labels=2)
    (found,) = predict(model, tokenizer, rows, outputs=SpanOutputs())
    (expected,) = predict(attach(model), tokenizer, rows, outputs=SpanOutputs())
    assert np.allclose(found, expected, atol=1e-6)


def answers_at(rows, spans):
    """Logits of rows that point at a (first, last) place of their positions each."""
    found = []
    for row, (first, last) in zip(rows, spans, strict=True):
        logits = np.zeros((len(row["positions"]), 2), dtype=np.float32)
        logits[first, 0] = logits[last, 1] = 5.0
        found.append(logits)
    return found


def test_predictions_are_the_best_of_all_windows(tokenizer):
    kind = QuestionAnswering(task())
    examples = table(("a b c d e f g h i j", "i j"), ("a b", "a"))
    encoded = kind.encode(examples, tokenizer, 12)
    said = answers_at(encoded, [(0, 0), (3, 4), (1, 2)])
    second = [int(value) for value in encoded[1]["offsets"]]
    expected = examples[0]["context"][second[2 * 2] : second[2 * 3 + 1]]
    assert kind.predictions(said, encoded, examples) == [expected, "a b"]
    files = kind.files(said, encoded, examples)
    assert set(files) == {"predictions", "nbest"}
    assert files["predictions"] == {"q0": expected, "q1": "a b"}


def test_a_threshold_is_chosen_once_for_others_and_a_given_one_stays(tokenizer):
    examples = table(("b c", "b"), ("b c", None))  # "a" would be an article
    kind = QuestionAnswering(task(metric="squad_v2_f1"))
    encoded = kind.encode(examples, tokenizer, 12)
    # The first is sure of "b", the second less so of "c".
    said = answers_at(encoded, [(1, 1), (2, 2)])
    said[1][0] = 4.0
    kind.tune_threshold(said, encoded, examples)
    assert kind.thresholds == {"null_threshold": -10.0}
    assert kind.predictions(said, encoded, examples) == ["b", ""]
    assert kind.files(said, encoded, examples)["null_odds"] == {"q0": -10.0, "q1": -2.0}
    given = QuestionAnswering(task(metric="squad_v2_f1", null_threshold=0.0))
    given.tune_threshold(said, encoded, examples)
    assert given.predictions(said, encoded, examples) == ["b", "c"]


@pytest.fixture
def files(tmp_path):
    return {
        name: str(quiz.write_json(tmp_path / f"{name}.json", quiz.articles(count, seed=seed, name=name)))
        for seed, (name, count) in enumerate({"train": 120, "validation": 10, "test": 20}.items())
    }


def test_files_of_their_own_are_splits_of_their_own(files):
    splits = load_questions(task(data_files=files), no_answer=False)
    assert [len(part) for part in (splits.train, splits.validation, splits.tests["test"])] == [120, 10, 20]
    assert splits.labels == []


def test_what_has_no_file_is_cut_out_of_training_by_article(files):
    splits = load_questions(task(data_files=files["train"], split={}), no_answer=False)
    parts = [splits.train, splits.validation, splits.tests["test"]]
    titles = [set(part["title"]) for part in parts]
    assert sum(len(part) for part in parts) == 120
    assert not (titles[0] & titles[1] or titles[0] & titles[2] or titles[1] & titles[2])
    assert len(splits.train) > 60


def test_the_official_folder_is_read_by_its_names(tmp_path):
    for seed, name in enumerate(("train-v1.1.json", "dev-v1.1.json")):
        quiz.write_json(tmp_path / name, quiz.articles(60, seed=seed, name=name))
    files = FilesConfig(format="squad", train="train-v1.1.json", test=["dev-v1.1.json"])
    splits = load_questions(task(data_dir=str(tmp_path), files=files), no_answer=False)
    assert len(splits.train) + len(splits.validation) == 60
    assert {name: len(part) for name, part in splits.tests.items()} == {"dev-v1.1": 60}


def test_the_hubs_splits_are_training_and_a_test(monkeypatch):
    """The data set's own validation split is what is reported; ours is cut from training, by article."""
    frames = {
        split: pd.DataFrame(
            {
                "id": [f"{split}{number}" for number in range(count)],
                "title": [f"{split} {number // 2}" for number in range(count)],
                "context": [f"b c {number}" for number in range(count)],
                "question": "who ?",
                "answers": [{"text": np.array(["c"]), "answer_start": np.array([2])}] * count,
            }
        )
        for split, count in (("train", 80), ("validation", 10))
    }
    seen = {}

    def read(source, splits, columns, optional):
        seen.update(path=source.path, splits=splits, columns=columns)
        return {name: frame[[*columns, *optional]] for name, frame in frames.items()}

    monkeypatch.setattr("latadj.tasks.data.questions.read_hub", read)
    hub = HubConfig(path="rajpurkar/squad", test=["validation"])
    splits = load_questions(task(hub=hub, split={"train": 0.8, "validation": 0.2}), no_answer=False)
    assert seen == {
        "path": "rajpurkar/squad",
        "splits": ["train", "validation"],
        "columns": ["id", "context", "question", "answers"],
    }
    assert list(splits.tests) == ["validation"]
    assert splits.tests["validation"]["id"][:] == [f"validation{number}" for number in range(10)]
    assert len(splits.train) + len(splits.validation) == 80
    assert not set(splits.train["title"]) & set(splits.validation["title"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["test"], "it has no training questions"),
        (["train", "train as test"], "question id 'train0' stands there twice"),
    ],
)
def test_splits_that_cannot_be_are_refused(files, given, message):
    named = {name.split(" as ")[-1]: files[name.split(" as ")[0]] for name in given}
    with pytest.raises(ValueError, match=message):
        load_questions(task(data_files=named), no_answer=False)


def test_tests_alone_are_enough_where_nothing_is_trained(files):
    options = {"no_answer": True, "train": False}
    splits = load_questions(task(data_files={"test": files["test"]}), **options, validation=False)
    assert (len(splits.train), len(splits.tests["test"])) == (0, 20)
    with pytest.raises(ValueError, match="no validation questions to find a threshold of no answer on"):
        load_questions(task(data_files={"test": files["test"]}), **options)


def test_answers_that_are_nowhere_do_not_teach_that_there_is_none(files, tmp_path):
    articles = quiz.articles(60, seed=0)
    articles[7]["paragraphs"][0]["qas"][0]["answers"] = [{"text": "nowhere to be found", "answer_start": 0}]
    train = quiz.write_json(tmp_path / "lost.json", articles)
    splits = load_questions(task(data_files={**files, "train": str(train)}), no_answer=False)
    assert len(splits.train) == 59
    assert "q7" not in splits.train["id"][:]
    # A test keeps it: its text is scored, wherever it stands.
    tested = load_questions(task(data_files={**files, "test": str(train)}), no_answer=False)
    assert tested.tests["test"]["texts"][7] == ["nowhere to be found"]
