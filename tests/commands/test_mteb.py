"""latadj sweep and eval on a task of mteb, with data of our own in the place of the hub's."""

import csv
import json

import pytest
from datasets import Dataset, DatasetDict
from helpers.command_line import run
from helpers.tiny_embedders import TEXTS, write_dialled, write_embedder
from sentence_transformers import SentenceTransformer

import latadj
from latadj.commands.evaluation.mteb_scorer import counting

mteb = pytest.importorskip("mteb", reason="the extra mteb")
PAIRS = [(one, other) for place, one in enumerate(TEXTS) for other in TEXTS[place + 1 :]]


def task_of(loaded, modalities=("text",)):
    """A task of mteb whose data ``loaded`` gives."""
    from mteb.abstasks.sts import AbsTaskSTS

    class Films(AbsTaskSTS):
        metadata = mteb.TaskMetadata(
            **{
                "name": "Films",
                "description": "Pairs of sentences.",
                "reference": "https://example.com",
                "type": "STS",
            },
            **{"category": "t2t", "modalities": list(modalities), "eval_splits": ["test"], "eval_langs": ["eng-Latn"]},
            **{
                "main_score": "cosine_spearman",
                "date": ("2026-01-01", "2026-01-02"),
                "domains": [],
                "license": "cc0-1.0",
            },
            **{"dataset": {"path": "nobody/films", "revision": "1"}, "task_subtypes": [], "dialect": []},
            **{"annotations_creators": "derived", "sample_creation": "created", "bibtex_citation": ""},
        )

        def load_data(self, **options):
            self.dataset, self.data_loaded = loaded(), True

    return Films()


def pairs():
    shared = [len(set(one.split()) & set(other.split())) / 2 for one, other in PAIRS]
    columns = {"sentence1": [one for one, _ in PAIRS], "sentence2": [other for _, other in PAIRS], "score": shared}
    return DatasetDict({"test": Dataset.from_dict(columns)})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    root = tmp_path_factory.mktemp("mteb")
    return write_dialled(root / "checkpoint", write_embedder(root / "model"))


@pytest.fixture(autouse=True)
def films(monkeypatch):
    known = mteb.get_task
    monkeypatch.setattr(mteb, "get_task", lambda name: task_of(pairs) if name == "Films" else known(name))


def options(checkpoint, root):
    where = [f"checkpoint={checkpoint}", f"folder={root}", "device.name=cpu", "device.threads=1"]
    return ["task=mteb", "task.name=Films", "dial.target=flops", *where]


def own_score(model):
    (result,) = mteb.evaluate(model, task_of(pairs), cache=None).task_results
    return result.get_score()


def test_a_sweep_has_mtebs_main_score_at_every_speedup(checkpoint, tmp_path):
    shown = run("sweep", *options(checkpoint, tmp_path), "speedup=[1,2]").output
    found = json.loads((tmp_path / "sweep" / "mteb.json").read_text())
    full, faster = found["rows"]
    assert (found["metric"], found["mteb"], found["task"]) == ("cosine_spearman", mteb.__version__, "Films")
    plain = own_score(SentenceTransformer(str(checkpoint), device="cpu"))
    assert found["baseline_metric"] == full["metric"] == pytest.approx(plain, abs=1e-6)
    assert full["scores"] == {"test": full["metric"]}
    assert faster["metric"] != full["metric"]
    assert faster["drop"] == pytest.approx(full["metric"] - faster["metric"])
    assert faster["flops_speedup"] > 1.2
    assert full["seconds"] > 0
    assert found["test_examples"] == 2 * len(PAIRS)
    assert "cosine_spearman" in shown
    with (tmp_path / "sweep" / "mteb.csv").open() as file:
        assert [float(row["metric"]) for row in csv.DictReader(file)] == [full["metric"], faster["metric"]]


def test_eval_is_a_sweep_of_one_point_and_is_what_load_gives(checkpoint, tmp_path):
    run("eval", *options(checkpoint, tmp_path), "speedup=2")
    (row,) = json.loads((tmp_path / "eval" / "mteb.json").read_text())["rows"]
    assert row["metric"] == pytest.approx(own_score(latadj.load(checkpoint, speedup=2)), abs=1e-6)


def broken():
    raise OSError("the hub is out of reach\nand more")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (lambda: task_of(broken), "mteb cannot load its data, neither from the hub nor from its cache: the hub is out"),
        (lambda: task_of(pairs, ["image", "text"]), "and latadj embeds text: take another"),
    ],
)
def test_a_task_that_cannot_be_had_is_refused(task, message, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(mteb, "get_task", lambda name: task())
    assert message in run("eval", *options(checkpoint, tmp_path), expect=2).output


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        (
            "eval",
            ["task.name=STSBenchmarc"],
            "mteb has no such task: 'STSBenchmarc' not found. Did you mean: 'STSBench",
        ),
        ("eval", ["task.name=mteb"], "which task of mteb? Name it, as in task.name=STSBenchmark"),
        ("eval", ["task.metric=ndcg"], "task.metric=ndcg: expected main_score, which each task of mteb names"),
        ("eval", ["task.data_files=films.txt"], "mteb has the data of Films; leave data_dir and data_files out"),
        ("calibrate", [], "is to test with, and there is nothing to train or calibrate on"),
    ],
)
def test_what_cannot_work_is_refused(command, given, message, checkpoint, tmp_path):
    own = [one for one in options(checkpoint, tmp_path) if command == "eval" or not one.startswith("dial")]
    assert message in run(command, *own, *given, expect=2).output


def test_what_is_embedded_is_counted_inside_the_block_alone(checkpoint):
    model = SentenceTransformer(str(checkpoint), device="cpu")
    with counting(model) as passes:
        model.encode(TEXTS[:3])
    counted, took = list(passes.lengths), passes.seconds
    model.encode(TEXTS)
    assert (passes.lengths, passes.seconds) == (counted, took)
    assert sorted(counted) == sorted(len(model.tokenizer(text)["input_ids"]) for text in TEXTS[:3])
    assert took > 0
