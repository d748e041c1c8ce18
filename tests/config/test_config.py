import shlex

import pytest
from omegaconf.errors import OmegaConfBaseException

from latadj.benchmark.backends import BACKENDS
from latadj.config import SCHEMAS, CommandConfig
from latadj.config.compose import compose, conf_dir, package_file, typed
from latadj.config.speedups import parse_speedups

GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in conf_dir().iterdir()
    if folder.is_dir()
}
WITH_TASK = [command for command, schema in SCHEMAS.items() if issubclass(schema, CommandConfig)]
ON_THE_DEFAULT_TASK = [command for command in WITH_TASK if command != "generate"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, [3.0]),
        ("2.5", [2.5]),
        ("1..5", [1.0, 2.0, 3.0, 4.0, 5.0]),
        ("1..2:0.25", [1.0, 1.25, 1.5, 1.75, 2.0]),
        ("1..1.35:0.1", [1.0, 1.1, 1.2, 1.3]),
        ([1, 1.5, 2], [1.0, 1.5, 2.0]),
    ],
)
def test_speedups_are_read(value, expected):
    assert parse_speedups(value) == expected


@pytest.mark.parametrize("value", ["abc", 0.5, "5..1", "1..5:0", "1...5", "..", [], [1, 0.9], None, True, "nan", "inf"])
def test_bad_speedups_say_what_is_possible(value):
    with pytest.raises(ValueError, match=r"speedup=.*: expected a number >= 1, a rising range such as 1..5"):
        parse_speedups(value)


@pytest.mark.parametrize("command", ON_THE_DEFAULT_TASK)
def test_every_command_with_a_task_composes_with_its_defaults(command):
    config = typed(command, compose(command, []))
    assert (config.model.name, config.task.name, config.device.name) == ("minilm", "rotten_tomatoes", "auto")
    assert config.folder == "outputs/minilm-rotten_tomatoes"


@pytest.mark.parametrize(
    ("options", "copies", "epochs"),
    [
        (["task=rotten_tomatoes"], 3, 2),
        (["task=text_classification", "task.data_files=x.csv", "task.text=review"], 3, 2),
        (["task=text_classification", "task.data_files=x.csv", "task.text=[premise,hypothesis]"], 0, 4),
        (["task=text_regression", "task.data_files=x.csv"], 0, 4),
        (["task=cola"], 0, 4),
        (["task=stsb"], 0, 4),
        (["task=conll2003"], 0, 8),
        (["task=squad"], 0, 8),
        (["task=rotten_tomatoes", "adjust.word_dropout_copies=1"], 1, 4),
    ],
)
def test_words_are_left_out_of_training_texts_whose_label_survives_that(options, copies, epochs):
    config = typed("finetune", compose("finetune", options))
    assert (config.adjust.word_dropout_copies, config.adjust.epochs) == (copies, epochs)
    recover = typed("prune", compose("prune", [one for one in options if "adjust" not in one])).recover
    assert recover.word_dropout_copies == min(copies, 1)


def test_generate_composes_with_a_decoder_and_no_examples():
    config = typed("generate", compose("generate", []))
    assert (config.model.name, config.speedup) == ("smollm2", 1)
    assert (config.task.files, config.task.hub) == (None, None)
    assert config.checkpoint == f"outputs/smollm2-{config.task.name}/checkpoint"


def test_bench_composes_with_its_defaults_without_a_task():
    config = typed("bench", compose("bench", []))
    assert (config.model.name, config.model.weights, config.device.name) == ("bert", "random", "auto")
    assert (config.folder, config.precisions) == ("outputs/bench", ["fp32", "int8"])
    assert set(config.backends) == set(BACKENDS)
    assert not hasattr(config, "task")
    config = typed("bench", compose("bench", ["model=llama", "device=cpu"]))
    assert (config.model.name, config.device.name) == ("llama", "cpu")


@pytest.mark.parametrize("choice", [f"{group}={name}" for group, names in GROUPS.items() for name in names])
def test_every_yaml_composes(choice):
    config = typed("sweep", compose("sweep", [choice]))
    group, name = choice.split("=")
    if group != "experiment":
        assert getattr(config, group).name == name


@pytest.mark.parametrize(
    ("task", "task_type"),
    [
        ("text_regression", "classification"),
        ("token_classification", "token_classification"),
        ("squad", "question_answering"),
        ("text", "generation"),
    ],
)
@pytest.mark.parametrize("command", WITH_TASK)
def test_every_command_composes_with_every_type_of_task(command, task, task_type):
    config = typed(command, compose(command, [f"task={task}", "model=llama", "device=cpu", "experiment=quick"]))
    assert (config.task.name, config.task.type) == (task, task_type)
    assert (config.model.name, config.device.name) == ("llama", "cpu")


def test_each_command_takes_of_an_experiment_its_own_part_of_a_section():
    swept, evaluated = (typed(command, compose(command, ["experiment=quick"])) for command in ("sweep", "eval"))
    assert (swept.measure.batches, swept.measure.warmup) == (4, 1)
    assert (evaluated.measure.examples, evaluated.measure.warmup) == (200, 1)
    with pytest.raises(Exception, match=r"measure\.batches"):
        compose("eval", ["measure.batches=4"])


@pytest.mark.parametrize("path", sorted(conf_dir().rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_opens_with_a_command_that_composes(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    opening = next(line for line in lines if "latadj " in line)
    assert opening.startswith("# ")
    command, *overrides = shlex.split(opening.split("latadj ")[1])
    overrides = overrides[1:] if command in ("generate", "explain") else overrides  # the prompt
    typed("finetune" if command == "COMMAND" else command, compose(command.replace("COMMAND", "finetune"), overrides))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.txt", "a.txt"),
        ("[a.txt,b.jsonl]", ["a.txt", "b.jsonl"]),
        ("{train:a.txt,test:[b.txt,c.txt]}", {"train": "a.txt", "test": ["b.txt", "c.txt"]}),
    ],
)
def test_text_is_a_file_or_several_or_some_for_each_split(given, expected):
    assert typed("sweep", compose("sweep", ["task=text", f"task.data_files={given}"])).task.data_files == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["task=speeches", "task.type=translation"], "task.type=translation: expected one of classification, gen"),
        (["task=text", "task.documents=page"], "task.documents=page: expected one of auto, row, block, heading"),
        (["task=lambada", "task.continuation=word"], "task.continuation=word: expected one of window, last_word"),
        (["task=text", "task.prompt_length=0"], "task.prompt_length=0: expected at least 2"),
        (["task=text", "task.windows=0"], "task.windows=0: expected at least 1"),
        (["task=text", "task.text=[a,b]"], "expected one column, since this task generates"),
        (["task.text=[a,b,c]"], r"task.text=\['a', 'b', 'c'\]: expected one column or two"),
        (["task.text=[a,a]"], "expected one column or two"),
        (["task.text=stars", "task.label=stars"], "task.label=stars: it is a text column"),
        (["task.text=label", "task.label=stars"], "task.text=label: a text column must not be called label"),
    ],
)
def test_bad_options_of_a_task_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        typed("calibrate", compose("calibrate", options))


def test_a_value_of_the_wrong_type_is_refused():
    with pytest.raises(OmegaConfBaseException, match="learning_rate"):
        typed("finetune", compose("finetune", ["plain.learning_rate=abc"]))


def test_several_bad_values_are_named_at_once():
    with pytest.raises(ValueError, match=r"device.precision=fp8: expected one of .*; calibration.score=foo: expected"):
        typed("calibrate", compose("calibrate", ["device.precision=fp8", "calibration.score=foo"]))


def test_an_experiment_goes_before_a_commands_own_values(tmp_path, monkeypatch):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nplain: {epochs: 7}\n")
    monkeypatch.chdir(tmp_path)
    config = typed("finetune", compose("finetune", ["experiment=mine", "adjust.epochs=9"]))
    assert (config.plain.epochs, config.adjust.epochs) == (7, 9)


def test_a_conf_folder_is_found_in_a_folder_of_any_name(tmp_path, monkeypatch):
    here = tmp_path / "josé's (1), data"
    (here / "conf" / "task").mkdir(parents=True)
    (here / "conf" / "task" / "mine.yaml").write_text("name: mine\ntext: [t]\n")
    monkeypatch.chdir(here)
    assert typed("sweep", compose("sweep", ["task=mine"])).task.name == "mine"


def test_a_missing_package_says_what_brings_it():
    with pytest.raises(ValueError, match="package no_such_package is not installed: `make install` brings it"):
        package_file("no_such_package", "model")


def test_a_conf_folder_of_ones_own_joins_ours(tmp_path, monkeypatch):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "mine.yaml").write_text("name: mine\ntext: [t]\n")
    monkeypatch.chdir(tmp_path)
    assert typed("sweep", compose("sweep", ["task=mine"])).task.name == "mine"


@pytest.mark.parametrize("command", ["finetune", "calibrate", "sweep"])
def test_the_quick_experiment_is_short_in_every_step(command):
    config = typed(command, compose(command, ["experiment=quick"]))
    assert config.task.max_train == 640
    if command == "finetune":
        assert config.plain.epochs == config.adjust.epochs == 1
    if command == "calibrate":
        assert (config.search.trials, config.clock.rounds) == (4, 3)
