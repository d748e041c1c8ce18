"""Question answering through the real command line, on a small set out of real sentences."""

import json

import numpy as np
import pytest
from helpers import answer_data as quiz
from typer.testing import CliRunner

import latadj
from latadj.checkpoints.metadata import read_metadata
from latadj.cli import app
from latadj.config import TaskConfig
from latadj.tasks.metrics.squad import AnswerScores, best_threshold
from latadj.tasks.outputs.predict import predict
from latadj.tasks.types.question_answering import QuestionAnswering

CUT = {"max_length": 32, "doc_stride": 8, "max_query_length": 6}
# Of the tokens of a window these are no context: four of the question and three special ones.
ROOM = 32 - 7


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def overrides(root, task="squad_v2"):
    return [
        f"task={task}",
        "model=bert",
        f"model.path={root / 'model'}",
        f"task.data_files={{train:{root / 'train.json'},test:{root / 'test.json'}}}",
        f"folder={root / 'out'}",
        *(f"task.{name}={value}" for name, value in CUT.items()),
        "task.split={train:0.8,validation:0.2}",
        "device.threads=1",
        "device.name=cpu",
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("quiz")
    quiz.write_model(root / "model")
    quiz.write_json(root / "train.json", quiz.articles(300, seed=0, impossible=True, name="train"))
    quiz.write_json(root / "test.json", quiz.articles(90, seed=1, impossible=True, name="test"))
    steps = [
        ["finetune", "plain.epochs=4", "adjust.epochs=2", "model.learning_rate=2e-3", "plain.warmup=0"],
        ["calibrate", "search.trials=0", "calibration.profile=acc", "calibration.examples=32", "clock.rounds=0"],
        ["sweep", "speedup=[1,2]", "measure.batches=1", "measure.repeats=2", "measure.warmup=1"],
        ["eval", "speedup=2", "measure.examples=5", "measure.warmup=1"],
    ]
    for command, *options in steps:
        result = run(command, *overrides(root), "task.protect_query=true", *options)
        assert result.exit_code == 0, result.output
    return root


def read(root, *path):
    return json.loads(root.joinpath("out", *path).read_text())


@pytest.fixture(scope="module")
def asked(root):
    """Questions of the test file by id, each with its context."""
    articles = json.loads((root / "test.json").read_text())["data"]
    return {
        question["id"]: {**question, "context": paragraph["context"]}
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }


def test_answers_are_learnt_at_1x_and_at_2x(root):
    sweep = read(root, "sweep", "sweep.json")
    assert (sweep["metric"], sweep["test_examples"]) == ("squad_v2_f1", 90)
    # Silence alone gives a third, and any word of some forty next to nothing.
    full, cut = (row["metric"] for row in sweep["rows"])
    assert full > 0.75
    assert cut > 0.55
    for row in sweep["rows"]:
        assert row["metric_ci"][0] <= row["metric"] <= row["metric_ci"][1]
        scores = row["scores"]["test"]
        assert scores["squad_v2_f1"] == row["metric"]
        assert scores["has_answer_f1"] > 0.5
        assert scores["has_answer_exact"] <= scores["has_answer_f1"]
        assert set(row["thresholds"]) == {"null_threshold"}
        assert row["measured"]["bucketed"]["speedup"] > 0
    assert sweep["rows"][1]["flops_speedup"] == pytest.approx(2.0, rel=0.1)


def test_drops_of_answers_are_measured_on_validation_questions(root):
    metadata = read_metadata(root / "out" / "checkpoint")
    assert len(metadata.dial.drops) >= 4
    assert metadata.dial.drops[0].drop >= 0
    assert 0 < metadata.notes["calibration"]["validation_examples"] < 300


def test_predictions_are_written_as_the_official_evaluation_reads_them(root, asked):
    found = read(root, "eval", "predictions.json")
    assert list(found) == list(asked)
    assert all(text in asked[name]["context"] for name, text in found.items())
    evaluated = read(root, "eval", "eval.json")
    golds = [[answer["text"] for answer in question["answers"]] for question in asked.values()]
    scores = AnswerScores.of(list(found.values()), golds, no_answer=True).summary("squad_v2_f1", groups=True)
    assert evaluated["scores"]["test"] == pytest.approx(scores)


def test_no_answer_is_given_above_the_threshold_only(root, asked):
    predictions, odds = read(root, "eval", "predictions.json"), read(root, "eval", "null_odds.json")
    threshold = read(root, "eval", "eval.json")["thresholds"]["null_threshold"]
    assert list(odds) == list(asked)
    assert {name for name, text in predictions.items() if not text} == {
        name for name, value in odds.items() if value > threshold
    }


def test_the_best_answers_are_listed_with_probabilities(root):
    predictions, odds = read(root, "eval", "predictions.json"), read(root, "eval", "null_odds.json")
    for name, listed in read(root, "eval", "nbest.json").items():
        assert sum(one["probability"] for one in listed) == pytest.approx(1)
        scores = [one["score"] for one in listed]
        assert scores == sorted(scores, reverse=True)
        best = next(one for one in listed if one["text"])
        silent = next(one for one in listed if not one["text"])
        assert predictions[name] in ("", best["text"])
        assert silent["score"] - best["score"] == pytest.approx(odds[name])


def test_the_threshold_is_the_best_on_validation(root):
    task = TaskConfig(
        name="squad_v2",
        type="question_answering",
        text=["question", "context"],
        metric="squad_v2_f1",
        data_files={"train": str(root / "train.json"), "test": str(root / "test.json")},
        split={"train": 0.8, "validation": 0.2},
        protect_query=True,
        **CUT,
    )
    kind = QuestionAnswering(task)
    examples = kind.load(None, train=False).validation
    model, tokenizer = latadj.load(root / "out" / "checkpoint", speedup=2)
    encoded = kind.encode(examples, tokenizer, 32)
    spans = kind.spans(predict(model, tokenizer, encoded, outputs=kind.outputs), encoded, examples)
    golds = kind.references(examples)
    answered, silent = (
        AnswerScores.of(texts, golds, no_answer=True).f1
        for texts in (spans.texts(examples["context"]), [""] * len(golds))
    )
    expected = best_threshold(spans.odds, answered, silent)
    assert read(root, "eval", "eval.json")["thresholds"]["null_threshold"] == pytest.approx(expected.value, abs=1e-3)


def test_answers_behind_the_first_window_are_found(root, asked):
    predictions = read(root, "eval", "predictions.json")
    late = [
        (name, question["answers"][0])
        for name, question in asked.items()
        if question["answers"]
        and len(quiz.words_of(question["context"][: question["answers"][0]["answer_start"]])) >= ROOM
    ]
    assert len(late) >= 5
    assert np.mean([predictions[name].lower() == answer["text"].lower() for name, answer in late]) > 0.5


def test_a_checkpoint_says_what_it_is_for(root):
    sidecar = read(root, "checkpoint", "latadj.json")
    assert sidecar["dial"]["reads"] == "all"
    assert sidecar["dial"]["protected"] == 5  # the question's four tokens and the pooled one
    task_spec = sidecar["task_spec"]
    assert (task_spec["type"], task_spec["metric"], task_spec["max_length"]) == (
        "question_answering",
        "squad_v2_f1",
        32,
    )


def test_a_dial_is_true_for_the_protection_that_it_was_made_with(root):
    result = run("eval", *overrides(root), "speedup=2", f"checkpoint={root / 'out' / 'checkpoint'}")
    assert result.exit_code == 2
    assert "task.protect_query=false: this checkpoint's dial was made with true" in result.output
    assert result.output.count("\n") == 1


def twice():
    return quiz.articles(3, seed=0)[:1] * 2


@pytest.mark.parametrize(
    ("task", "data", "option", "message"),
    [
        ("squad", '{"data": [{"title": ', None, "train.json: cannot be read as JSON: Expecting value"),
        ("squad", twice, None, "question id 'q0' stands there twice"),
        ("squad", lambda: quiz.articles(6, seed=0, impossible=True), None, "have no answer, 'q0' the first"),
        ("squad", lambda: quiz.articles(60, seed=0), "task.doc_stride=30", "holds 23 tokens of context, which must be"),
        ("squad", lambda: quiz.articles(60, seed=0), "task.metric=accuracy", "expected one of squad_f1, squad_v2_f1"),
        ("squad", lambda: quiz.articles(60, seed=0), "task.n_best=0", "task.n_best=0: expected at least 1"),
        ("squad", lambda: quiz.articles(60, seed=0), "prompt=zero_shot", "is of type question_answering"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(root, tmp_path, task, data, option, message):
    path = tmp_path / "train.json"
    if isinstance(data, str):
        path.write_text(data)
    else:
        quiz.write_json(path, data())
    out = tmp_path / "out"
    more = [f"task.data_files={path}", f"folder={out}", *([option] if option else [])]
    result = run("finetune", *overrides(root, task), *more)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.strip().count("\n") == 0
    assert not out.exists()
