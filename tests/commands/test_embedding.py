"""A model that embeds texts, from finetune to eval, once, through the real command line."""

import json

import numpy as np
import pytest
from helpers.command_line import run
from helpers.made_once import made_once
from helpers.retrieval_data import write_beir
from helpers.tiny_embedders import TEXTS, write_embedder, write_pairs
from sentence_transformers import SentenceTransformer

import latadj
from latadj.checkpoints.metadata import read_metadata
from latadj.tasks.metrics.cosines import cosines
from latadj.tasks.metrics.metric import metric_of

QUICK = ["device.threads=1", "measure.batches=2", "measure.repeats=2"]


def pairs(root):
    return ["task=sts", f"task.data_dir={root / 'data'}", f"folder={root / 'out'}", *_common(root)]


def unscored(root):
    return ["task=embedding", f"task.data_files={root / 'texts.txt'}", f"folder={root / 'unscored'}", *_common(root)]


def _common(root):
    return [f"model.path={root / 'model'}", "device.threads=1"]


def write_trained(root):
    write_embedder(root / "model")
    write_pairs(root / "data")
    (root / "texts.txt").write_text("\n".join(f"{text} film {number}" for number in range(10) for text in TEXTS))
    for options in (pairs(root), unscored(root)):
        run("finetune", *options, "adjust.epochs=1", "adjust.word_dropout_copies=1", "adjust.widths=[0.5]")
        run("calibrate", *options, "search.trials=2", "clock.rounds=2")
        run("sweep", *options, *QUICK, "speedup=[1,2]", "dial.target=flops")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made_once(tmp_path_factory, "embedders", write_trained)


def result(root, folder, name):
    return json.loads((root / folder / name / f"{name}.json").read_text())


def test_no_label_is_learnt_from_and_the_plain_model_is_the_one_that_was_given(root):
    plain = SentenceTransformer(str(root / "out" / "plain"), device="cpu").encode(TEXTS)
    given = SentenceTransformer(str(root / "model"), device="cpu").encode(TEXTS)
    assert np.array_equal(plain, given)
    assert result(root, "out", "finetune")["config"]["adjust"]["task_loss_weight"] == 0


def test_the_dial_has_levels_and_drops_on_validation_text(root):
    dial = read_metadata(root / "out" / "checkpoint").dial
    assert dial.reads == "all"
    assert dial.widths == (0.5,)
    assert dial.drops


@pytest.mark.parametrize(("folder", "metric"), [("out", "spearman"), ("unscored", "fidelity")])
def test_a_sweep_compares_embeddings_along_the_dial(root, folder, metric):
    found = result(root, folder, "sweep")
    assert found["metric"] == metric
    assert [row["speedup"] for row in found["rows"]] == [1, 2]
    assert all(set(row["scores"]) and row["measured"] for row in found["rows"])


def test_of_texts_without_scores_the_plain_model_is_the_measure(root):
    assert result(root, "unscored", "sweep")["plain_metric"] == pytest.approx(1.0)


def test_sweeps_score_of_the_full_model_is_that_of_sentence_transformers(root):
    lines = [line.split("\t") for line in (root / "data" / "dev.tsv").read_text().splitlines()[1:]]
    model = SentenceTransformer(str(root / "model"), device="cpu")
    one, other = (model.encode([line[side] for line in lines]) for side in (0, 1))
    expected = metric_of("spearman").scores((one * other).sum(axis=1), np.array([float(line[2]) for line in lines]))
    assert result(root, "out", "sweep")["plain_metric"] == pytest.approx(expected["spearman"], abs=1e-6)


def test_a_sweep_reads_the_first_numbers_alone_where_it_is_asked_to(root):
    lines = [line.split("\t") for line in (root / "data" / "dev.tsv").read_text().splitlines()[1:]]
    model = SentenceTransformer(str(root / "out" / "checkpoint"), device="cpu", truncate_dim=3)
    sides = (model.encode([line[side] for line in lines], normalize_embeddings=True) for side in (0, 1))
    expected = metric_of("spearman").scores(cosines(*sides), np.array([float(line[2]) for line in lines]))
    where = [f"folder={root / 'first'}", f"checkpoint={root / 'out' / 'checkpoint'}"]
    options = [*pairs(root), *where, *QUICK, "speedup=[1]", "dial.target=flops", "task.dimensions=3"]
    run("sweep", *options)
    (row,) = result(root, "first", "sweep")["rows"]
    (scores,) = row["scores"].values()
    assert scores["spearman"] == pytest.approx(expected["spearman"], abs=1e-4)
    (whole, _) = (next(iter(row["scores"].values())) for row in result(root, "out", "sweep")["rows"])
    assert scores["spearman"] != pytest.approx(whole["spearman"], abs=1e-3)


def test_queries_run_at_a_speedup_of_their_own_and_find_documents_of_another(root):
    write_beir(root / "beir")
    quick = [*QUICK, "speedup=[2]", "dial.target=flops"]
    options = ["task=retrieval", f"task.data_dir={root / 'beir'}", f"checkpoint={root / 'unscored' / 'checkpoint'}"]
    found = {}
    for queries in ("1", "null"):
        folder = root / f"retrieval-{queries}"
        run("sweep", *options, *quick, f"folder={folder}", f"task.query_speedup={queries}")
        found[queries] = result(root, folder.name, "sweep")
    assert set(found["1"]["rows"][0]["scores"]["test"]) == {"ndcg", "mrr", "recall"}
    run("eval", *options, f"folder={root / 'retrieval-1'}", "speedup=2", "dial.target=flops", "measure.examples=2")
    table = (root / "retrieval-1" / "eval" / "predictions.csv").read_text().splitlines()
    assert table[0] == "query,documents"


def test_eval_writes_the_cosine_of_every_pair(root):
    run("eval", *pairs(root), "speedup=2", "dial.target=flops", "measure.examples=4")
    table = (root / "out" / "eval" / "predictions.csv").read_text().splitlines()
    assert table[0].split(",")[-1] == "cosine"
    assert len(table) == 61


def test_the_checkpoint_is_a_sentence_transformer_with_a_dial(root):
    model = latadj.load(root / "out" / "checkpoint", max_drop=100)
    assert model.encode(TEXTS).shape == (len(TEXTS), 32)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (["sweep"], ["task=sst2"], "is for task=sts, not task=sst2"),
        (["explain", "a film"], [], "embeds texts, and explain shows what a classifier reads"),
        (["extract"], ["speedup=2", "output=small"], "sentence-transformers loads whole models only"),
        (["predict"], ["input=texts.txt", "output=out.csv", "all_probabilities=true"], "is for embedding: it has none"),
        (["prune"], ["task=sts"], "sentence-transformers loads whole models only"),
        (["calibrate"], ["task=sts", "task.metric=fidelity"], "expected spearman"),
        (["sweep"], ["task=sts", "task.dimensions=40", "speedup=[1]"], "the embeddings of this model have 32 numbers"),
        (["finetune"], ["task=sts", "adjust.task_loss_weight=1"], "embeddings have no labels to learn from"),
        (["finetune"], ["task=sts", "task.text=[a,b,c]"], "expected one column or two"),
    ],
)
def test_what_a_model_that_embeds_cannot_do_is_one_line(root, command, options, message, monkeypatch):
    monkeypatch.chdir(root)
    places = [f"task.data_dir={root / 'data'}"] if command[0] in ("sweep", "prune", "calibrate", "finetune") else []
    found = run(*command, f"checkpoint={root / 'out' / 'checkpoint'}", *places, *options, expect=2)
    assert message in found.output
    assert len(found.output.strip().splitlines()) == 1
