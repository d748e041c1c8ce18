"""A reranker, from finetune to serving, once, through the real command line."""

import json

import numpy as np
import pytest
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.made_once import made_once
from helpers.ranking_data import rows, write_ranking, write_rows
from sentence_transformers import CrossEncoder

import latadj
from latadj.checkpoints.metadata import read_metadata
from latadj.elimination.attach import attached
from latadj.elimination.current_setting import at_profile
from latadj.tasks.metrics.ranking import ranked

QUERY = "the film music"
DOCUMENTS = ["a very long story about people and music is good", "a film about people is a bad story", "fine"]
TRAINING = ["model.learning_rate=2e-3", "adjust.axes=[tokens]", "plain.warmup=0"]
TRAINING += ["plain.ema_decay=0", "adjust.ema_decay=0", "plain.patience=9"]
QUICK = ["device.threads=1", "measure.batches=2", "measure.repeats=2"]


def options(root):
    data = root / "data"
    return [
        *("task=reranking", "model=bert", f"model.path={root / 'model'}", f"folder={root / 'out'}"),
        *(f"task.data_files={{train:{data / 'train.jsonl'},test:{data / 'test.jsonl'}}}", "device.threads=1"),
        "task.split={train:0.8,validation:0.2}",
    ]


def write_trained(root):
    toy.write_model(root / "model")
    write_ranking(root / "data")
    run("finetune", *options(root), *TRAINING, "plain.epochs=10", "adjust.epochs=2")
    run("calibrate", *options(root), "search.trials=2", "clock.rounds=2")
    run("sweep", *options(root), *QUICK, "speedup=[1,1.5]", "dial.target=flops")
    run("eval", *options(root), "speedup=1.5", "dial.target=flops", "measure.examples=4")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made_once(tmp_path_factory, "rerankers", write_trained)


@pytest.fixture(scope="module")
def checkpoint(root):
    return root / "out" / "checkpoint"


def result(root, name):
    return json.loads((root / "out" / name / f"{name}.json").read_text())


def test_documents_are_ranked_well_at_1x_and_at_a_speedup(root):
    found = result(root, "sweep")
    assert (found["metric"], found["test_examples"]) == ("ndcg", 40)
    for row in found["rows"]:
        # By chance the one of four is at 0.64.
        assert row["metric"] > 0.9
        assert row["metric_ci"][0] <= row["metric"] <= row["metric_ci"][1]
        assert set(row["scores"]["test"]) == {"ndcg", "mrr"}
        assert row["measured"]["bucketed"]["speedup"] > 0
    assert found["rows"][1]["flops_speedup"] == pytest.approx(1.5, rel=0.05)


def test_drops_are_measured_and_the_dial_counts_what_is_protected(checkpoint):
    metadata = read_metadata(checkpoint)
    assert metadata.dial.protected >= 7  # of each pair four words and three special tokens
    assert metadata.dial.drops
    assert metadata.task_spec.type == "reranking"


def test_eval_lists_the_candidates_of_each_query_the_best_first(root):
    lines = [line.split(",") for line in (root / "out" / "eval" / "predictions.csv").read_text().splitlines()]
    assert lines[0] == ["query", "rank", "document", "score", "prediction"]
    first = lines[1:5]
    assert len({line[0] for line in first}) == 1
    assert [line[1] for line in first] == ["1", "2", "3", "4"]
    scores = [float(line[4]) for line in first]
    assert scores == sorted(scores, reverse=True)


def test_sweeps_score_of_the_plain_model_is_that_of_a_cross_encoder(root):
    model = CrossEncoder(str(root / "out" / "plain"), device="cpu", max_length=32)
    candidates = {}
    for row in rows(40, seed=1):
        own = candidates.setdefault(row["query"], {})
        pairs = [(row["positive"], 1), *((text, 0) for text in row["negatives"])] if "positive" in row else []
        own.update(pairs or [(row["document"], row["score"])])
    scores = []
    for query, own in candidates.items():
        found = [hit["corpus_id"] for hit in model.rank(query, list(own))]
        relevant = [number for place, score in enumerate(own.values()) if score for number in (place, score)]
        scores.append(ranked(found, relevant)[0])
    assert result(root, "sweep")["plain_metric"] == pytest.approx(np.mean(scores), abs=1e-6)


def test_what_is_loaded_is_a_cross_encoder_that_protects_the_query_at_a_speedup(checkpoint):
    model = latadj.load(checkpoint, precision=None, speedup=1.5)
    assert isinstance(model, CrossEncoder)
    survivors = []
    with at_profile(model, latadj.profile_of(model), survivor_observer=lambda layer, alive: survivors.append(alive)):
        found = model.predict([(QUERY, text) for text in DOCUMENTS[:1]])
    assert (found >= 0).all() and (found <= 1).all()
    read = [alive.places()[0].tolist() for alive in survivors][:-1]  # of the last layer the first position is read
    assert all({0, 1, 2, 3, 4, 15} <= set(places) for places in read)
    assert any(len(places) < 16 for places in read)


def test_predict_and_rank_follow_the_dial(root, checkpoint):
    pairs, model = [(QUERY, text) for text in DOCUMENTS], latadj.load(checkpoint, precision=None)
    plain, ranking = model.predict(pairs), model.rank(QUERY, DOCUMENTS)
    latadj.set_speedup(model, 1.5)
    assert np.abs(model.predict(pairs) - plain).max() > 1e-6
    latadj.detach(model)
    assert (model.predict(pairs) == CrossEncoder(str(checkpoint), device="cpu").predict(pairs)).all()
    assert [hit["corpus_id"] for hit in ranking] == np.argsort(-plain).tolist()


def test_what_is_saved_again_still_protects_the_query(checkpoint, tmp_path):
    model = latadj.load(checkpoint, precision=None, speedup=1.5)
    latadj.save(model, model.tokenizer, tmp_path / "again")
    again = latadj.load(tmp_path / "again", precision=None, speedup=1.5)
    pairs = [(QUERY, text) for text in DOCUMENTS]
    assert np.abs(again.predict(pairs) - model.predict(pairs)).max() < 1e-6
    plain, tokenizer = latadj.load(checkpoint, precision=None, speedup=1.5, head="classification")
    assert attached(plain).pair is not None
    logits = plain(**tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")).logits
    assert np.abs(logits[:, 0].detach().sigmoid().numpy() - model.predict(pairs)).max() < 1e-6


def test_predict_reads_pairs_and_gives_what_the_cross_encoder_gives(root, checkpoint, tmp_path):
    write_rows(tmp_path / "pairs.jsonl", [{"query": QUERY, "document": text} for text in DOCUMENTS])
    files = [f"input={tmp_path / 'pairs.jsonl'}", f"output={tmp_path / 'out.jsonl'}", "dial.target=flops"]
    run("predict", f"checkpoint={checkpoint}", *files, "speedup=1.5", "device.threads=1", "device.precision=fp32")
    values = [json.loads(line)["value"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = latadj.load(checkpoint, precision=None, speedup=1.5).predict([(QUERY, text) for text in DOCUMENTS])
    assert 1 / (1 + np.exp(-np.array(values))) == pytest.approx(expected, abs=1e-4)


def test_info_says_what_the_model_is_for(checkpoint):
    found = run("info", str(checkpoint)).output
    assert "reranking of query and document" in found
    assert "none: a score" in found


def test_explain_shows_that_the_query_survives(root, checkpoint):
    given = [f"checkpoint={checkpoint}", f"folder={root / 'out'}", "speedup=1.5", "dial.target=flops"]
    run("explain", QUERY, "--text2", DOCUMENTS[0], *given, "device.threads=1")
    found = result(root, "explain")
    depth = found["readings"][found["selected"]]["depth"]
    # The first position alone leaves the last layer.
    assert depth[:5] == [4, 3, 3, 3, 3]
    assert depth[-1] == 3
    assert min(depth[5:-1]) < 3


def test_a_trained_cross_encoder_keeps_its_head_and_gets_a_dial(root, tmp_path):
    given = [*options(root), f"model.path={root / 'out' / 'plain'}", f"folder={tmp_path}", *TRAINING]
    run("finetune", *given, "plain.epochs=0", "adjust.epochs=1")
    pairs = [(QUERY, text) for text in DOCUMENTS]
    plain, before = (
        CrossEncoder(str(path / "plain"), device="cpu").predict(pairs) for path in (tmp_path, root / "out")
    )
    assert (plain == before).all()
    assert read_metadata(tmp_path / "checkpoint").dial.protected >= 7


def test_a_reranker_is_for_any_candidates(root, checkpoint, tmp_path):
    write_rows(tmp_path / "other.jsonl", rows(20, seed=2))
    other = [f"task.data_files={{test:{tmp_path / 'other.jsonl'}}}", f"folder={tmp_path / 'out'}", "task.name=others"]
    run("sweep", "task=reranking", f"checkpoint={checkpoint}", *other, *QUICK, "speedup=[1.5]", "dial.target=flops")
    assert json.loads((tmp_path / "out" / "sweep" / "sweep.json").read_text())["rows"][0]["metric"] > 0.8


def test_a_cross_encoder_of_two_labels_is_trained_and_measured(root, tmp_path):
    two = [*options(root), f"folder={tmp_path}", "task.labels=[no,yes]"]
    run("finetune", *two, *TRAINING, "plain.epochs=9", "adjust.epochs=1")
    run("calibrate", *two, "search.trials=0", "clock.rounds=0", "calibration.profile=acc")
    run("sweep", *two, *QUICK, "speedup=[1.5]", "dial.target=flops")
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["rows"][0]["metric"] > 0.8


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("sweep", ["task.protect_query=false"], "task.protect_query=false: this checkpoint's dial was made with true"),
        ("sweep", ["task.protect_question=true"], "task.protect_question= is now task.protect_query="),
        ("sweep", ["task.metric=accuracy"], "task.metric=accuracy: expected one of ndcg"),
        ("sweep", ["task.text=[query]"], "task.text=['query']: expected two columns, the query's and the document's"),
        ("sweep", ["task.labels=[a,b,c]"], "expected [] for one score, or two, the better one last"),
        ("sweep", ["task.max_length=4"], "max_length=4: no word fits beside the 3 special tokens"),
        ("finetune", ["adjust.word_dropout_copies=1"], "only texts with one label each can lose words"),
        ("export", [], "this dial protects the question or query, which graphs cannot"),
    ],
)
def test_what_a_reranker_cannot_do_is_one_line(root, command, given, message):
    places = [f"checkpoint={root / 'out' / 'checkpoint'}"] if command == "export" else options(root)
    speedup = ["speedup=[1.5]", "dial.target=flops"] if command == "sweep" else []
    found = run(command, *places, *speedup, *given, expect=2)
    assert message in found.output
    assert len(found.output.strip().splitlines()) == 1
