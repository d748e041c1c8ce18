"""One line on stderr, exit code 2, no traceback, nothing left behind."""

import json
import re
import resource
import shutil
import subprocess
import sys

import pytest
from helpers import toy_project as toy
from transformers import AutoConfig, AutoTokenizer, BertModel
from typer.testing import CliRunner

import latadj
from latadj.cli import app
from latadj.commands.launch import check_early
from latadj.config.errors import _chain


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("bad")
    toy.write_model(root / "model")
    toy.write_task(root / "data", examples=60)
    common = toy.overrides(root)
    run(root, "finetune", *common, "plain.epochs=1", "adjustable=false", expect=0)
    run(root, "calibrate", *common, "search.trials=0", "calibration.examples=16", "clock.rounds=0", expect=0)
    return root


def run(cwd, *arguments, expect=2):
    with toy.inside(cwd):
        found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == expect, found.output
    return found


def refused(cwd, *arguments):
    found = run(cwd, *arguments)
    assert found.stderr.count("\n") == 1, found.stderr
    assert "Traceback" not in found.output
    return found.stderr


def test_a_real_process_says_one_line_too(tmp_path):
    command = [sys.executable, "-m", "latadj", "sweep", "checkpoint=nowhere"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith("latadj sweep: checkpoint nowhere: no such folder")
    assert found.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model=bertt",
            "no conf/model/bertt.yaml; expected one of bert, flan_t5, gpt2, llama, minilm, modernbert, mpnet, smollm2",
        ),
        ("task=sst", "did you mean sst2 or sst5?"),
        ("experiment=qick", "did you mean quick?"),
        ("model.path=", "model.path is empty: name a folder, a .gguf file or a model on the hub with model.path=PATH"),
        ("model=flan_t5 model.size=huge", "sweep: model.size=huge: expected one of small, base, large, xl, xxl"),
        ("prompt=many_shot", "expected one of chain_of_thought, few_shot, instruction, zero_shot"),
        ("no_such_key=1", "no_such_key=: sweep has no such option; `latadj sweep --help` lists all"),
        ("speedp=2", "speedp=: sweep has no such option; did you mean speedup=?"),
        ("+speedp=2", "did you mean speedup=?"),
        ("++plain.epoch=2", "plain.epoch=: sweep has no such option"),
        ("plain.epochs=2", "plain.epochs=: an option of `latadj finetune` and `latadj glue`, not of sweep"),
        ("task.group=film", "task.group=: there is no value of it to replace: write +task.group= to add it"),
        ("dial.target=flop", "expected one of latency, flops; did you mean flops?"),
        ("device.name=gpu", "device.name=gpu: expected one of auto, cpu, cuda, mps, or one of several as in cuda:1"),
        ("speedup=0.5", "speedup=0.5: expected a number >= 1"),
        ("speedup=abc", "speedup=abc: expected a number >= 1"),
        ("speedup=5..1", "speedup=5..1: expected a number >= 1, a rising range"),
        ("checkpoint=nowhere", "checkpoint nowhere: no such folder; make it with `latadj finetune`"),
        ("task.batch_size=many", "task.batch_size: Value 'many' of type 'str' could not be converted to Integer"),
        ("profile=best", "profile=best: expected one of geometric, flat, acc, searched"),
        ("speedup=[", "latadj sweep:"),
        ("speedup=\x1b[31mred", r"speedup=\x1b[31mred: expected a number >= 1"),
        ("hydra.mode=MULTIRUN", "hydra.mode=: a command runs once, and with --multirun every combination"),
        ("task.batch_size=99999999999999999999", "task.batch_size=99999999999999999999: expected a number of at most"),
        ("seed=-1", "seed=-1: expected a number from 0 to 4294967295"),
        ("device.threads=3000000000", "device.threads=3000000000: expected 1 to 4096"),
        ("speedup=" + "[" * 2000 + "]" * 2000, "its value is nested too deeply"),
        ("task.files=x", "task.files: Invalid type assigned"),
        ("folder=a[/b] checkpoint=n[/b]", "checkpoint n[/b]: no such folder"),
        ("checkpoint=\udcff", r"checkpoint \udcff: no such folder"),
        ("checkpoint=loop", "checkpoint loop: no such folder"),
    ],
)
def test_bad_overrides(tmp_path, override, message):
    command = "finetune" if "model.path" in override else "sweep"
    assert message in refused(tmp_path, command, *override.split())
    assert list(tmp_path.iterdir()) == []


def test_a_value_of_5000_characters_is_cut_in_the_message(tmp_path):
    message = refused(tmp_path, "sweep", "speedup=" + "a" * 5000)
    assert len(message) < 2200
    assert message.endswith("or a list [1,1.5,2]\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", 'a file of your conf/ is no YAML: while parsing a flow sequence in "'),
        (b"a: 1\na: 2", "found duplicate key a"),
        (b"\x00", "a file of your conf/ is no YAML"),
        (b"a: \xff", "conf: one of its files is no UTF-8 text"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "is nested too deeply, or in itself"),
        (b"a: &a [*a]", "is nested too deeply, or in itself"),
        (b"- 1", "Cannot merge DictConfig with ListConfig"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--multirun",)])
def test_a_yaml_of_the_users_own_that_cannot_be_read(tmp_path, content, message, options):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "mine.yaml").write_bytes(content)
    assert message in refused(tmp_path, "finetune", *options, "task=mine")


def test_a_column_that_a_task_does_not_have(root, tmp_path):
    message = refused(tmp_path, "finetune", *toy.overrides(root), "task.text=nope", f"folder={tmp_path}/new")
    assert "task.text=['nope']: the training examples of task sst2: column 'nope' is missing; there are" in message


@pytest.mark.parametrize("options", [("a film \udcff",), ("a film", "--text2", "\udcff")])
def test_an_argument_that_is_no_text(root, tmp_path, options):
    message = refused(tmp_path, "explain", *options, f"checkpoint={root}/out/checkpoint")
    assert "is no UTF-8 text: write it in UTF-8, or give --file FILE" in message


def test_a_speedup_beyond_the_dial(root, tmp_path):
    message = refused(tmp_path, "eval", *toy.overrides(root), "speedup=7")
    assert "beyond this dial, which goes to 5" in message


def test_a_checkpoint_for_another_task(root, tmp_path):
    message = refused(tmp_path, "sweep", *toy.overrides(root), "task=cola", f"checkpoint={root / 'out/checkpoint'}")
    assert "is for task=sst2, not task=cola" in message


def test_the_folder_of_a_run_is_no_model_but_holds_some(root, tmp_path):
    message = refused(tmp_path, "sweep", *toy.overrides(root), f"checkpoint={root / 'out'}")
    made = f"checkpoint={root / 'out' / 'checkpoint'} or {root / 'out' / 'plain'}"
    assert f"the folder of a run, not a model; name one that it holds: {made}" in message


@pytest.fixture
def checkpoint(root, tmp_path):
    return shutil.copytree(root / "out" / "checkpoint", tmp_path / "checkpoint")


@pytest.mark.parametrize("name", ["model.safetensors", "latadj.json", "config.json", "tokenizer.json"])
def test_a_checkpoint_that_was_cut_short(root, checkpoint, tmp_path, name):
    path = checkpoint / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refused(tmp_path, "sweep", *toy.overrides(root), f"checkpoint={checkpoint}", f"folder={tmp_path}/new")
    assert "cut short" in message
    assert not (tmp_path / "new").exists()


def test_a_model_that_was_not_fine_tuned(root, tmp_path):
    config = AutoConfig.from_pretrained(root / "model")
    BertModel(config).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(root / "model").save_pretrained(tmp_path / "base")
    message = refused(tmp_path, "calibrate", *toy.overrides(root), f"checkpoint={tmp_path}/base")
    assert "is not fine-tuned for classification: it has no weights for classifier.bias" in message


def test_a_limit_on_memory_in_which_torch_cannot_be_loaded(tmp_path):
    command = [sys.executable, "-m", "latadj", "finetune", "folder=new", "task=rotten_tomatoes"]
    limit = 300_000 * 1024
    found = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert found.returncode == 2
    assert found.stderr.startswith("latadj finetune: ulimit -v 300000: this process may map 0.3 GiB")
    assert found.stderr.count("\n") == 1


def test_memory_that_is_used_up(root, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr("latadj.commands.evaluation.evaluate.prepare", fail)
    message = refused(tmp_path, "eval", *toy.overrides(root), f"checkpoint={root}/out/checkpoint")
    assert "there is not enough memory (Unable to allocate 9 GiB): end other programs, or take less" in message


def test_two_jobs_of_a_multirun_in_one_folder(root, tmp_path):
    options = [f"checkpoint={root}/out/checkpoint", f"hydra.sweep.dir={tmp_path}/many", "measure.examples=2"]
    message = refused(tmp_path, "eval", "-m", *toy.overrides(root), *options, "speedup=1,2")
    assert "two jobs of a multirun would overwrite each other" in message


def test_a_dial_for_another_number_of_layers(root, checkpoint, tmp_path):
    data = json.loads((checkpoint / "latadj.json").read_text())
    data["dial"]["shapes"].pop()
    data["dial"]["layer_acc"].pop()
    data["dial"] |= {"drops": [], "anchors": [], "profile_type": "acc"}
    (checkpoint / "latadj.json").write_text(json.dumps(data))
    message = refused(tmp_path, "eval", *toy.overrides(root), f"checkpoint={checkpoint}")
    assert "dial is for a model of 3 layers, the model has 4" in message


def test_pickled_weights_are_not_read(root, checkpoint, tmp_path):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    message = refused(tmp_path, "sweep", *toy.overrides(root), f"checkpoint={checkpoint}")
    assert "no model.safetensors" in message
    assert "other formats are not read" in message


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "training split is empty"),
        (["good film\t1", "fine film\t1"], "there is nothing to learn"),
        (["good film\t1", "bad film\t5"], "label '5'"),
    ],
)
def test_data_that_cannot_be_learnt_from(root, tmp_path, lines, message):
    data = shutil.copytree(root / "data", tmp_path / "data")
    (data / "train.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    options = [*toy.overrides(root), f"task.data_dir={data}", f"folder={tmp_path}/new"]
    assert message in refused(tmp_path, "finetune", *options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("adjust.max_speedup=6", "adjust.max_speedup=6.0: expected 1.1 to calibration.max_speedup=5.0"),
        ("adjust.profiles=[best]", "expected some of geometric, flat, acc"),
        ("plain.batch_size=0", "plain.batch_size=0: expected a number above 0"),
    ],
)
def test_bad_options_of_finetune(root, tmp_path, override, message):
    options = [*toy.overrides(root), f"folder={tmp_path}/new", override, "calibration.max_speedup=5"]
    assert message in refused(tmp_path, "finetune", *options)
    assert not (tmp_path / "new").exists()


def test_a_missing_column(root, tmp_path):
    data = shutil.copytree(root / "data", tmp_path / "data")
    (data / "train.tsv").write_text("text\tlabel\ngood\t1\n")
    message = refused(tmp_path, "finetune", *toy.overrides(root), f"task.data_dir={data}")
    assert "column 'sentence' is missing; there are text, label" in message


def test_an_output_folder_that_cannot_be_made(root, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    options = [f"folder={tmp_path}/file/out", f"checkpoint={root}/out/checkpoint", "dial.target=flops"]
    assert "file" in refused(tmp_path, "eval", *toy.overrides(root), *options)


@pytest.mark.parametrize(
    ("options", "wanted", "way_on"),
    [
        (["model=bert"], "model 'google-bert/bert-base-uncased'", "model.path=FOLDER"),
        (["task=rte"], "data set 'nyu-mll/glue'", "task.data_dir=FOLDER"),
    ],
)
def test_a_hub_that_is_not_there_names_both_ways_on(tmp_path, monkeypatch, options, wanted, way_on):
    monkeypatch.setattr("latadj.utils.hub.reachable", lambda: False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    message = refused(tmp_path, "finetune", *options)
    assert wanted in message
    assert way_on in message
    assert "built-in default" in message


MISSING = [
    ("task.data_dir=nowhere", "task.data_dir=nowhere: no such folder"),
    ("task.data_dir=.", "train.tsv: no such file; task sst2 needs it"),
    ("task.data_files=nowhere.csv", "nowhere.csv: no such file"),
    ("task.data_files=[nowhere/*.csv]", "task.data_files=nowhere/*.csv: no file fits this pattern"),
    ("task.data_files={train:.}", "task.data_files=.: this is a folder; name files in it"),
    ("task.data_files={tset:a.csv}", "task.data_files: tset: expected some of train, validation, test"),
]


@pytest.mark.parametrize(("override", "message"), MISSING)
@pytest.mark.parametrize("command", ["finetune", "calibrate", "sweep", "eval", "prune"])
def test_data_that_is_not_there_is_refused_before_anything_is_loaded(root, tmp_path, command, override, message):
    with toy.inside(tmp_path):
        checkpoint = f"checkpoint={root}/out/{'plain' if command == 'prune' else 'checkpoint'}"
        options = [*toy.overrides(root), f"folder={tmp_path}/new", *([checkpoint] if command != "finetune" else [])]
        with pytest.raises(ValueError, match=re.escape(message)):
            check_early(command, [*options, override])


def test_the_check_before_torch_imports_no_library_that_reads_data():
    code = "import latadj.commands.common.training_checks, latadj.inference.streams.plan, sys; "
    code += "print(sys.modules.keys() & {names})"
    code = code.replace("{names}", "{'torch', 'transformers', 'pandas', 'datasets', 'pyarrow'}")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_help_needs_neither_torch_nor_transformers():
    code = "import sys, latadj.cli; print([m for m in ('torch', 'transformers', 'hydra') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_version_is_one_option_away(tmp_path):
    assert run(tmp_path, "--version", expect=0).stdout == f"latadj {latadj.__version__}\n"


def test_a_folder_that_holds_something_else_is_not_replaced_by_fine_tuning(root, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "keep.txt").write_text("mine")
    (tmp_path / "out" / "plain").mkdir(parents=True)
    (tmp_path / "out" / "plain" / "keep.txt").write_text("mine")
    common, new = [*toy.overrides(root), "plain.epochs=1", "adjustable=false"], tmp_path / "new"
    for options, message in (
        (
            [f"folder={tmp_path / 'new'}", f"checkpoint={tmp_path / 'notes'}"],
            "notes: this folder holds keep.txt",
        ),
        ([f"folder={tmp_path / 'out'}"], "out/plain: this folder holds keep.txt, which is no part"),
        ([f"folder={tmp_path / 'new'}", f"checkpoint={tmp_path}"], "and a model takes the place of all that was there"),
        # Where the run's own models would be lost.
        ([f"folder={new}", f"checkpoint={new}/finetune/adjustable"], "finetune, which the training clears"),
        ([f"folder={new}", f"checkpoint={new}/plain", "adjustable=true"], "name another, or take adjustable=false"),
    ):
        assert message in refused(tmp_path, "finetune", *common, *options)
    (tmp_path / "out" / "plain" / "keep.txt").rename(tmp_path / "keep.txt")
    (tmp_path / "out" / "finetune" / "plain").mkdir(parents=True)
    (tmp_path / "keep.txt").rename(tmp_path / "out" / "finetune" / "plain" / "keep.txt")
    message = refused(tmp_path, "finetune", *common, f"folder={tmp_path / 'out'}")
    assert "finetune/plain, which holds keep.txt, and that would be lost" in message
    for kept in (tmp_path / "notes", tmp_path / "out" / "finetune" / "plain"):
        assert (kept / "keep.txt").read_text() == "mine"


def test_a_folder_that_holds_something_else_is_not_replaced_by_jobs_of_a_multirun(root, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "keep.txt").write_text("mine")
    options = [f"hydra.sweep.dir={tmp_path}/many", f"folder={tmp_path}/many/${{seed}}", f"checkpoint={tmp_path}/notes"]
    given = [*toy.overrides(root), *options, "plain.epochs=1", "adjustable=false", "seed=0,1"]
    assert "notes: this folder holds keep.txt" in refused(tmp_path, "finetune", "-m", *given)
    assert (tmp_path / "notes" / "keep.txt").read_text() == "mine"


def test_an_error_that_is_its_own_context_ends():
    error, cause = ValueError("one"), ValueError("two")
    error.__context__, cause.__context__ = cause, error
    assert list(_chain(error)) == [error, cause]
