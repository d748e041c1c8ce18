"""GLUE's test files as they are handed out, and the files that its server takes."""

import pytest

from latadj.commands.glue.stages import stage_overrides
from latadj.config import HubConfig, TaskConfig
from latadj.config.commands.glue import opened
from latadj.config.compose import compose, typed
from latadj.tasks import glue
from latadj.tasks.glue import FILES, GLUE, average, read_test, submission_text

OFFICIAL = {
    # file, header, a row
    "cola": ("test.tsv", "index\tsentence", "7\tBill whistled past the house."),
    "sst2": ("test.tsv", "index\tsentence", '7\ta "quote that never ends'),
    "mrpc": ("test.tsv", "index\t#1 ID\t#2 ID\t#1 String\t#2 String", "7\t1\t2\tone\ttwo"),
    "stsb": (
        "test.tsv",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        "7\tg\tf\t2012\t1\tnone\tnone\tone\ttwo",
    ),
    "qqp": ("test.tsv", "id\tquestion1\tquestion2", "7\tone\ttwo"),
    "mnli": (
        "test_mismatched.tsv",
        "index\tpromptID\tpairID\tgenre\ts1_bp\ts2_bp\ts1_parse\ts2_parse\tsentence1\tsentence2",
        "7\t1\t2\tg\tp\tp\tp\tp\tone\ttwo",
    ),
    "qnli": ("test.tsv", "index\tquestion\tsentence", "7\tone\ttwo"),
    "rte": ("test.tsv", "index\tsentence1\tsentence2", "7\tone\ttwo"),
    "wnli": ("test.tsv", "index\tsentence1\tsentence2", "7\tone\ttwo"),
}


def task_of(name, *overrides):
    return typed("sweep", compose("sweep", [f"task={name}", *overrides])).task


@pytest.mark.parametrize("name", GLUE)
def test_every_official_test_file_is_read(name, tmp_path):
    file, header, row = OFFICIAL[name]
    (tmp_path / file).write_text(f"{header}\n{row}\n")
    task = task_of(name, f"task.data_dir={tmp_path}")
    found = {part.file: read_test(task, part) for part in GLUE[name].parts}
    there = {file: frame for file, frame in found.items() if frame is not None}
    ((which, frame),) = there.items()
    assert which == {"mnli": "MNLI-mm"}.get(name, GLUE[name].folder)
    (only,) = frame.to_dict("records")
    assert only["index"] == 7
    assert [only[column] for column in task.text] == row.split("\t")[-len(task.text) :]


def test_mrpcs_original_file_is_numbered_by_its_lines(tmp_path):
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    (tmp_path / "msr_paraphrase_test.txt").write_text(f"{header}\n1\t5\t6\ta\tb\n0\t7\t8\tc\td\n", encoding="utf-8")
    frame = read_test(task_of("mrpc", f"task.data_dir={tmp_path}"), GLUE["mrpc"].parts[0])
    assert frame.to_dict("list") == {"sentence1": ["a", "c"], "sentence2": ["b", "d"], "index": [0, 1]}


def test_a_test_file_of_another_form_is_refused(tmp_path):
    (tmp_path / "test.tsv").write_text("index\ttext\n0\tgood\n")
    with pytest.raises(ValueError, match="column 'sentence' is missing; there are index, text"):
        read_test(task_of("sst2", f"task.data_dir={tmp_path}"), GLUE["sst2"].parts[0])


def test_the_hub_has_a_test_split_and_the_diagnostics_under_another_name(monkeypatch):
    asked = []

    def answered(source, splits, columns):
        asked.append((source.name, splits, columns))
        raise ValueError("no hub here")

    monkeypatch.setattr(glue, "read_hub", answered)
    for part in GLUE["mnli"].parts:
        with pytest.raises(ValueError, match="no hub"):
            read_test(task_of("mnli"), part)
    columns = ["premise", "hypothesis", "idx"]
    assert asked == [
        ("mnli", ["test_matched"], columns),
        ("mnli", ["test_mismatched"], columns),
        ("ax", ["test"], columns),
    ]
    assert read_test(TaskConfig(name="sst2", text=["sentence"]), GLUE["sst2"].parts[0]) is None
    assert HubConfig(path="x").test == ["validation"]


@pytest.mark.parametrize(
    ("name", "predictions", "labels", "expected"),
    [
        ("cola", [1, 0], ["unacceptable", "acceptable"], "3\t1\n4\t0\n"),
        ("wnli", [1, 0], ["not_entailment", "entailment"], "3\t1\n4\t0\n"),
        ("rte", [0, 1], ["entailment", "not_entailment"], "3\tentailment\n4\tnot_entailment\n"),
        ("mnli", [2, 1], ["entailment", "neutral", "contradiction"], "3\tcontradiction\n4\tneutral\n"),
        ("stsb", [-0.2, 5.4], [], "3\t0.000\n4\t5.000\n"),
        ("stsb", [2.34567, 1], [], "3\t2.346\n4\t1.000\n"),
    ],
)
def test_the_server_gets_numbers_names_or_values(name, predictions, labels, expected):
    assert submission_text(name, [3, 4], predictions, labels) == f"index\tprediction\n{expected}"


def test_a_submission_has_all_the_files_that_the_server_wants():
    assert set(FILES) == {
        f"{name}.tsv"
        for name in ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI", "AX")
    }


@pytest.mark.parametrize("name", GLUE)
def test_every_task_has_a_yaml_whose_metric_glue_prints_first(name):
    task = task_of(name)
    assert GLUE[name].scores[0] == (0, task.metric)
    assert len(task.hub.test) == 1 + max(split for split, _ in GLUE[name].scores)
    assert all(len(part.columns) == len(task.text) for part in GLUE[name].parts)


def test_a_task_with_two_scores_counts_as_one():
    assert average({"sst2": [0.9], "mrpc": [0.8, 0.6], "wnli": [0.1]}) == pytest.approx(0.8)


def test_options_go_on_to_the_commands_as_they_are(tmp_path):
    folder = tmp_path / "it's, here"
    given = [
        "tasks=[sst2]",
        "plain.epochs=2",
        "calibration.window_size=null",
        "adjust.profiles=[acc]",
        "task.max_length=64",
    ]
    given += ["workload.batch=4", "speedup=1..2:0.5", "model.learning_rate=3e-4", "adjustable=false", "model=bert"]
    config = typed("glue", compose("glue", [*given, f'data_dir="{folder}"', 'folder="out=1"']))
    found = {command: typed(command, compose(command, stage_overrides(config, "sst2", command))) for command in STAGES}
    finetune, calibrate, sweep = found.values()
    assert (finetune.plain.epochs, finetune.adjust.profiles, finetune.adjustable) == (2, ["acc"], False)
    assert (finetune.plain.learning_rate, finetune.model.name) == (3e-4, "bert")
    assert (finetune.calibration.window_size, calibrate.calibration.window_size) == (None, None)
    assert (calibrate.workload.batch, sweep.workload.batch, sweep.speedup) == (4, 4, [1.0, 1.5, 2.0])
    for one in found.values():
        assert (one.task.name, one.task.max_length, one.task.data_dir) == ("sst2", 64, f"{folder}/SST-2")
        assert one.folder == "out=1/sst2"


STAGES = ("finetune", "calibrate", "sweep")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("plain.epochs=2", "++plain.epochs=2"),
        ("task.max_length=64", "++task.max_length=64"),
        ("device.threads=1", "device.threads=1"),
        ("speedup=2", "speedup=2"),
        ("+plain.epochs=2", "+plain.epochs=2"),
    ],
)
def test_keys_of_the_commands_need_no_plus(given, expected):
    assert opened(given) == expected
