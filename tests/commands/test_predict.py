"""latadj predict through the real command line, on a toy model."""

import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
import torch
from filelock import FileLock
from helpers import toy_project as toy
from helpers.measured_drops import with_drops
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline
from typer.testing import CliRunner

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, Device, Serving, TaskSpec, read_metadata, write_metadata
from latadj.cli import app
from latadj.commands.predict import predict
from latadj.config.compose import compose, typed
from latadj.devices.device import place
from latadj.elimination.architectures import architecture_of, layer_shapes
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.inference.streams.plan import check_plan

CPU = torch.device("cpu")
TEXTS = [
    " ".join(random.Random(number).choices(toy.FILLER + toy.GOOD + toy.BAD, k=1 + number % 25)) for number in range(60)
]
LINE = (1.0, 32.0)
CLOCK = LatencyModel(
    batch=8,
    entering=Ramp(2e-3, LINE, (2e-3,)),
    choosing=Ramp(0.0, LINE, (0.0,)),
    leaving=Ramp(0.0, LINE, (8e-3,)),
    last=Ramp(2e-3, LINE, (1e-3,)),
    outside=Ramp(1e-3, LINE, (0.0,)),
)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def write_checkpoint(folder, source, text, labels=("bad", "good"), **config):
    """A checkpoint with a dial and a task_spec."""
    options = {"num_labels": len(labels) or 1, **config}
    torch.manual_seed(1)
    shape = AutoConfig.from_pretrained(source, initializer_range=0.3, **options)
    model = AutoModelForSequenceClassification.from_config(shape)
    dial = Dial(
        layer_acc=(0.9, 0.8, 0.7, 0.6),
        lengths=tuple(range(6, 24)),
        shapes=layer_shapes(model),
        reads=architecture_of(model).reads(model),
    )
    task_spec = TaskSpec("classification", list(text), list(labels), "accuracy", 32, 8)
    tokenizer = AutoTokenizer.from_pretrained(source)
    checkpoint.save(model, tokenizer, folder, CheckpointMetadata("toys", dial, task_spec=task_spec))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("predict")
    source = toy.write_model(root / "model")
    write_checkpoint(root / "checkpoint", source, ["text"])
    write_checkpoint(root / "pairs", source, ["premise", "hypothesis"], ("yes", "no", "maybe"))
    write_checkpoint(root / "regression", source, ["text"], ())
    (root / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    return root


def command(root, folder, *options, checkpoint="checkpoint", input="texts.txt"):
    given = {option.partition("=")[0] for option in options}
    source = [] if "input" in given else [f"input={root / input}"]
    where = [f"folder={folder}", f"checkpoint={root / checkpoint}", "device.name=cpu", "device.threads=1"]
    return ["predict", *where, *source, *options]


def run(*arguments, expect=0, **given):
    found = CliRunner().invoke(
        app, command(*arguments, **{k: given.pop(k) for k in ("checkpoint",) if k in given}), **given
    )
    assert found.exit_code == expect, found.output
    return found


def refused(root, folder, *options, **given):
    found = run(root, folder, *options, expect=2, **given)
    assert found.stderr.count("\n") == 1, found.stderr
    assert not (folder / "predict").exists()
    return found.stderr


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text() if hasattr(path, "read_text") else path)))


def result(folder):
    return json.loads((folder / "predict" / "predict.json").read_text())


def reference(folder, texts):
    """What transformers' own pipeline says."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", top_k=None)
    found = classify(texts, truncation=True, max_length=32)
    return [{one["label"]: one["score"] for one in answer} for answer in found]


def test_probabilities_are_those_of_transformers_pipeline_in_the_inputs_order(root, tmp_path):
    run(root, tmp_path, "window=25", "all_probabilities=true")
    found = rows(tmp_path / "predict" / "predictions.csv")
    assert [int(row["row"]) for row in found] == list(range(1, 61))
    expected = reference(root / "checkpoint", TEXTS)
    assert {row["label"] for row in found} == {"bad", "good"}
    for row, want in zip(found, expected, strict=True):
        assert float(row["probability_bad"]) == pytest.approx(want["LABEL_0"], abs=1e-5)
        assert float(row["probability_good"]) == pytest.approx(want["LABEL_1"], abs=1e-5)
        assert row["probability"] == row[f"probability_{row['label']}"]
        assert float(row["probability"]) == pytest.approx(max(want.values()), abs=1e-5)


def test_the_result_says_what_was_done(root, tmp_path):
    shown = run(root, tmp_path, "speedup=2").stdout
    found = result(tmp_path)
    assert found["schema"] == "latadj.predict/1"
    assert found["rows"] == {"read": 60, "written": 60, "broken": 0}
    assert found["texts_per_s"] == pytest.approx(60 / found["seconds"])
    assert (found["speedup"], found["target"], found["deadline"], found["resumed"]) == (2.0, "flops", None, False)
    assert min(found["keep"]) < 1
    assert found["environment"]["threads"] == 1
    assert found["config"]["window"] == 8192
    assert "written" in shown
    assert sorted(path.name for path in (tmp_path / "predict").iterdir() if not path.name.startswith(".")) == [
        *("predict.json", "predict.log", "predictions.csv")
    ]


def test_a_speedup_changes_what_the_model_says(root, tmp_path):
    found = []
    for speedup in (1, 3):
        run(root, tmp_path, f"speedup={speedup}", "overwrite=true")
        found.append([float(row["probability"]) for row in rows(tmp_path / "predict" / "predictions.csv")])
    assert found[0] != pytest.approx(found[1], abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("csv", ["premise", "hypothesis"]),
        ("tsv", ["a", "b"]),
        ("jsonl", ["a", "b"]),
        ("parquet", ["premise", "hypothesis"]),
    ],
)
def test_pairs_are_read_from_tables(root, tmp_path, kind, columns):
    frame = pd.DataFrame({"nr": range(100, 130), columns[0]: TEXTS[:30], columns[1]: TEXTS[30:]})
    path = tmp_path / f"in.{kind}"
    {
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }[kind]()
    options = ["all_probabilities=true", "id=nr"] + ([f"text=[{','.join(columns)}]"] if "a" in columns else [])
    run(root, tmp_path / "out", f"input={path}", *options, checkpoint="pairs")
    pairs = [{"text": a, "text_pair": b} for a, b in zip(TEXTS[:30], TEXTS[30:], strict=True)]
    found = rows(tmp_path / "out" / "predict" / "predictions.csv")
    assert [row["id"] for row in found] == [str(number) for number in range(100, 130)]
    for row, want in zip(found, reference(root / "pairs", pairs), strict=True):
        assert [float(row[f"probability_{name}"]) for name in ("yes", "no", "maybe")] == pytest.approx(
            [want[f"LABEL_{index}"] for index in range(3)], abs=1e-5
        )


def test_a_regression_has_values(root, tmp_path):
    run(root, tmp_path, checkpoint="regression")
    found = rows(tmp_path / "predict" / "predictions.csv")
    model = AutoModelForSequenceClassification.from_pretrained(root / "regression").eval()
    tokenizer = AutoTokenizer.from_pretrained(root / "regression")
    with torch.inference_mode():
        for row, text in zip(found[:9], TEXTS, strict=False):
            want = model(**tokenizer(text, return_tensors="pt")).logits.item()
            assert float(row["value"]) == pytest.approx(want, abs=1e-5)
    assert list(found[0]) == ["row", "value"]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_decoder_classifies_too(root, tmp_path, kind):
    model = {"llama": {"num_key_value_heads": 2}, "gpt2": {}}[kind]
    source = AutoTokenizer.from_pretrained(root / "model")
    shape = AutoConfig.for_model(
        kind,
        **{"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_labels": 2},
        **{"intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.3, "pad_token_id": 0},
        **model,
    )
    torch.manual_seed(0)
    classifier = AutoModelForSequenceClassification.from_config(shape).eval()
    checkpoint.save(classifier, source, tmp_path / "checkpoint", CheckpointMetadata())
    run(tmp_path, tmp_path / "out", f"input={root / 'texts.txt'}", "batch_size=4", "all_probabilities=true")
    found = rows(tmp_path / "out" / "predict" / "predictions.csv")
    with torch.inference_mode():
        for row, text in zip(found, TEXTS, strict=True):
            ids = source(text, truncation=True, max_length=32, return_tensors="pt")["input_ids"]
            want = classifier(input_ids=ids).logits.softmax(-1)[0].tolist()
            got = [float(row["probability_LABEL_0"]), float(row["probability_LABEL_1"])]
            assert got == pytest.approx(want, abs=1e-5)


BROKEN = b"the film is good\n\xff\xfe\n\nbad\n"


def test_broken_lines_are_reported_and_the_others_keep_their_numbers(root, tmp_path):
    (tmp_path / "in.txt").write_bytes(BROKEN)
    run(root, tmp_path / "out", f"input={tmp_path / 'in.txt'}")
    out = tmp_path / "out" / "predict"
    assert [row["row"] for row in rows(out / "predictions.csv")] == ["1", "4"]
    assert [(row["row"], row["reason"]) for row in rows(out / "predictions.csv.broken.csv")] == [
        ("2", "not UTF-8: invalid start byte at byte 1"),
        ("3", "the line is empty"),
    ]
    assert result(tmp_path / "out")["rows"] == {"read": 4, "written": 2, "broken": 2}
    assert result(tmp_path / "out")["broken_rows"] == str(out / "predictions.csv.broken.csv")
    assert "in.txt, line 2: not UTF-8: invalid start byte at byte 1; left out" in (out / "predict.log").read_text()


def test_broken_lines_stop_the_run_which_goes_on_without_them(root, tmp_path):
    (tmp_path / "in.txt").write_bytes(BROKEN)
    options = [f"input={tmp_path / 'in.txt'}", "window=1"]
    message = run(root, tmp_path / "out", *options, "on_error=stop", expect=2).stderr
    assert "in.txt, line 2: not UTF-8" in message
    assert "on_error=skip leaves such rows out and resume=true goes on from here" in message
    assert not (tmp_path / "out" / "predict" / "predictions.csv").exists()
    run(root, tmp_path / "out", *options, "resume=true")
    assert [row["row"] for row in rows(tmp_path / "out" / "predict" / "predictions.csv")] == ["1", "4"]


@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_a_file_without_texts_gives_an_output_without_rows(root, tmp_path, data):
    (tmp_path / "in.txt").write_bytes(data)
    run(root, tmp_path / "out", f"input={tmp_path / 'in.txt'}")
    assert (tmp_path / "out" / "predict" / "predictions.csv").read_text() == "row,label,probability\n"
    assert result(tmp_path / "out")["rows"]["broken"] == len(data)


def test_a_text_longer_than_the_model_is_cut(root, tmp_path):
    (tmp_path / "in.txt").write_text("good " * 500 + "\n" + "good " * 30 + "\n")
    run(root, tmp_path / "out", f"input={tmp_path / 'in.txt'}")
    long, cut = rows(tmp_path / "out" / "predict" / "predictions.csv")
    assert (long["label"], long["probability"]) == (cut["label"], cut["probability"])


@pytest.mark.parametrize("speedup", [1, 2])
def test_standard_input_and_output_hold_nothing_else(root, tmp_path, speedup):
    run(root, tmp_path / "file", f"speedup={speedup}")
    options = ["input=-", "output=-", f"speedup={speedup}"]
    found = run(root, tmp_path / "stream", *options, input="\n".join([*TEXTS, "", ""]))
    assert found.stdout == (tmp_path / "file" / "predict" / "predictions.csv").read_text()
    assert "written" in found.stderr
    assert "standard input, line 61: the line is empty; left out" in found.stderr
    assert result(tmp_path / "stream")["rows"] == {"read": 61, "written": 60, "broken": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_a_pipe_gives_what_a_file_does(root, tmp_path):
    run(root, tmp_path / "file")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("\n".join(TEXTS) + "\n",))
    writer.start()
    run(root, tmp_path / "pipe_run", f"input={pipe}")
    writer.join()
    name = "predict/predictions.csv"
    assert (tmp_path / "pipe_run" / name).read_text() == (tmp_path / "file" / name).read_text()
    message = refused(root, tmp_path / "again", f"input={pipe}", "resume=true")
    assert "what was read from a pipe is gone" in message


def test_standard_output_that_is_closed(root, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("latadj.inference.streams.checks.sys.stdout", None)
        with pytest.raises(ValueError, match="output=-: standard output is closed: give a file"):
            check_plan(typed("predict", compose("predict", command(root, tmp_path, "output=-")[1:])))


def test_json_lines_out(root, tmp_path):
    run(root, tmp_path, f"output={tmp_path / 'there' / 'p.jsonl'}")
    found = [json.loads(line) for line in (tmp_path / "there" / "p.jsonl").read_text().splitlines()]
    assert [row["row"] for row in found] == list(range(1, 61))
    assert set(found[0]) == {"row", "label", "probability"}


def test_a_finished_output_is_kept_unless_it_may_be_overwritten(root, tmp_path):
    run(root, tmp_path)
    before = (tmp_path / "predict" / "predictions.csv").read_bytes()
    assert "exists already" in run(root, tmp_path, "speedup=2", expect=2).stderr
    assert "exists already" in run(root, tmp_path, "speedup=2", "resume=true", expect=2).stderr
    assert "is finished already" in run(root, tmp_path, "resume=true").stderr
    assert (tmp_path / "predict" / "predictions.csv").read_bytes() == before
    run(root, tmp_path, "speedup=2", "overwrite=true")
    assert (tmp_path / "predict" / "predictions.csv").read_bytes() != before


def killed(root, folder, rows, *options):
    """Run the command in a process of its own and kill -9 it once so many rows are remembered; how many were."""
    state = folder / "predict" / "predictions.csv.state.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "latadj", *command(root, folder, *options)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def remembered():
        return json.loads(state.read_text())["counts"]["read"] if state.exists() else 0

    try:
        while process.poll() is None and remembered() < rows:
            time.sleep(0.001)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    return remembered()


@pytest.fixture(scope="module")
def undisturbed(root):
    """What a long input with broken lines becomes without any interruption."""
    lines = [text if number % 11 else "" for number, text in enumerate(TEXTS * 20)]
    (root / "long.txt").write_text("\n".join(lines) + "\n")
    run(root, root / "undisturbed", *LONG(root))
    return root / "undisturbed" / "predict"


def LONG(root):  # noqa: N802  options of the long run
    return [f"input={root / 'long.txt'}", "window=16", "speedup=2"]


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_killed_process_is_gone_on_with_to_the_same_bytes(root, tmp_path, undisturbed):
    behind = killed(root, tmp_path, random.Random(time.time_ns()).randint(1, 500), *LONG(root))
    assert (
        "speedup was 2.0 and is 3.0"
        in run(root, tmp_path, *LONG(root)[:2], "speedup=3", "resume=true", expect=2).stderr
    )
    assert f"interrupted after {behind} rows" in run(root, tmp_path, *LONG(root), expect=2).stderr
    run(root, tmp_path, *LONG(root), "resume=true")
    for name in ("predictions.csv", "predictions.csv.broken.csv"):
        assert (tmp_path / "predict" / name).read_bytes() == (undisturbed / name).read_bytes()
    assert result(tmp_path)["resumed"]
    assert result(tmp_path)["rows"] == {"read": 1200, "written": 1200 - 110, "broken": 110}


def test_an_output_that_another_run_is_writing_is_refused(root, tmp_path):
    (tmp_path / "predict").mkdir()
    with FileLock(tmp_path / "predict" / "predictions.csv.lock"):
        for options in ([], ["overwrite=true"]):
            assert "another run is writing here" in run(root, tmp_path, *options, expect=2).stderr
    run(root, tmp_path)
    assert not (tmp_path / "predict" / "predictions.csv.lock").exists()


def test_an_output_that_another_run_made_meanwhile_is_kept(root, tmp_path):
    ready = [
        predict.prepare(typed("predict", compose("predict", command(root, tmp_path, f"speedup={speedup}")[1:])))
        for speedup in (1, 2)
    ]
    predict.run(ready[0])
    before = (tmp_path / "predict" / "predictions.csv").read_bytes()
    with pytest.raises(ValueError, match="exists already"):
        predict.run(ready[1])
    assert (tmp_path / "predict" / "predictions.csv").read_bytes() == before


def test_an_input_that_changed_is_not_gone_on_with(root, tmp_path):
    (tmp_path / "in.txt").write_bytes(BROKEN)
    options = [f"input={tmp_path / 'in.txt'}", "window=1"]
    run(root, tmp_path / "out", *options, "on_error=stop", expect=2)
    (tmp_path / "in.txt").write_bytes(BROKEN.replace(b"\xff\xfe", b"fine"))
    message = run(root, tmp_path / "out", *options, "resume=true", expect=2).stderr
    assert "resume=true: input was " in message
    assert message.count("\n") == 1


def test_a_tokenizer_that_changed_is_not_gone_on_with(root, tmp_path):
    (tmp_path / "in.txt").write_bytes(BROKEN)
    own = shutil.copytree(root / "checkpoint", tmp_path / "checkpoint")
    options = [f"input={tmp_path / 'in.txt'}", "window=1"]
    run(root, tmp_path / "out", *options, "on_error=stop", checkpoint=own, expect=2)
    with (own / "tokenizer_config.json").open("a") as file:
        file.write(" ")
    message = run(root, tmp_path / "out", *options, "resume=true", checkpoint=own, expect=2).stderr
    assert "resume=true: checkpoint was " in message
    assert message.count("\n") == 1


@pytest.fixture(scope="module")
def marked(root):
    """The checkpoint with a latency model that was written by hand."""
    folder = shutil.copytree(root / "checkpoint", root / "marked")
    metadata = read_metadata(folder)
    metadata.devices = {place(CPU): Device(serving={"fp32": Serving("plain", (CLOCK,))})}
    write_metadata(folder, metadata)
    return folder


@pytest.mark.parametrize(("ms", "possible"), [(1e6, True), (1e-3, False)])
def test_a_deadline_is_met_or_exits_with_3(root, marked, tmp_path, ms, possible):
    options = [f"deadline_ms={ms}", "window=30", "max_speedup=1.5"]
    found = run(root, tmp_path, *options, checkpoint=marked.name, expect=0 if possible else 3)
    deadline = result(tmp_path)["deadline"]
    assert (deadline["ms"], deadline["batch_size"], deadline["measured_at"]) == (ms, 8, 8)
    assert (deadline["quantile"], deadline["max_speedup"], deadline["texts"]) == (0.95, 1.5, 60)
    assert deadline["speedups"] == {"1.00" if possible else "1.50": 60}
    # What cannot meet it runs alone.
    assert deadline["batches"] == (8 if possible else 60)
    assert (deadline["met_texts"], deadline["beyond_texts"]) == ((60, 0) if possible else (0, 60))
    assert deadline["measured_s"] > 0
    assert result(tmp_path)["speedup"] is None
    assert "met by the clock" in found.stdout
    assert ("cannot be met for texts of" in found.stderr + found.stdout) != possible


def test_a_generous_deadline_says_what_speedup_1_says(root, marked, tmp_path):
    run(root, tmp_path / "a", "deadline_ms=1e6", checkpoint=marked.name)
    run(root, tmp_path / "b", checkpoint=marked.name)
    paths = [tmp_path / name / "predict" / "predictions.csv" for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.fixture(scope="module")
def validated(marked):
    """That checkpoint with drops that were written by hand."""
    folder = shutil.copytree(marked, marked.parent / "validated")
    metadata = read_metadata(folder)
    metadata.dial = with_drops(metadata.dial)
    write_metadata(folder, metadata)
    return folder


def test_a_drop_chooses_the_speedup(root, validated, tmp_path):
    within = read_metadata(validated).dial.on(CLOCK).within(1.0)
    run(root, tmp_path / "drop", "max_drop=1", checkpoint=validated.name)
    found = result(tmp_path / "drop")
    assert (found["speedup"], found["target"]) == (within, "latency")
    run(root, tmp_path / "speedup", f"speedup={within}", checkpoint=validated.name)
    paths = [tmp_path / name / "predict" / "predictions.csv" for name in ("drop", "speedup")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_drop_limits_a_deadline(root, validated, tmp_path):
    options = ["max_drop=1", "confident=true", "deadline_ms=1e-3"]
    run(root, tmp_path, *options, checkpoint=validated.name, expect=3)
    deadline = result(tmp_path)["deadline"]
    within = read_metadata(validated).dial.on(CLOCK).within(1.0, confident=True)
    assert deadline["speedups"] == {f"{within:.2f}": 60}
    assert (deadline["max_drop"], deadline["confident"]) == (1.0, True)


def test_a_deadline_on_a_device_that_was_not_measured_says_how_to(root, marked, tmp_path):
    message = refused(root, tmp_path, "deadline_ms=20")
    assert "calibrated on no device: run `latadj calibrate task=toys folder=" in message
    assert f"{root} calibration.device_only=true device.precision=fp32`" in message
    message = refused(root, tmp_path, "deadline_ms=20", "device.precision=bf16", checkpoint=marked.name)
    assert "calibrated on another device or precision than this" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["input=null"], "no input: give a file, as in `latadj predict input=texts.txt`, or input=- for"),
        (["input=gone.txt"], "input=gone.txt: no such file"),
        (["input=texts.doc"], "the suffix does not say its format"),
        (["output=out.xlsx"], "expected a name that ends in .csv, .jsonl"),
        (["on_error=ignore"], "on_error=ignore: expected one of skip, stop"),
        (["window=0"], "window=0: expected at least 1"),
        (["batch_size=0"], "batch_size=0: expected at least 1"),
        (["text=[a,b,c]"], "expected a column, or two"),
        (["text=review"], "text=review: "),
        (["speedup=9"], "beyond this dial, which goes to 5"),
        (["speedup=[1,2]"], "predict takes one speedup"),
        (["speedup=2", "deadline_ms=20"], "a deadline picks speedups; give one of them"),
        (["max_speedup=2"], "max_speedup=2 limits a deadline: give deadline_ms too"),
        (["speedup=2", "max_drop=1"], "speedup=2 with max_drop=1: give one of them"),
        (["max_drop=-1"], "max_drop=-1.0: expected 0 or more"),
        (["confident=true"], "confident=true says how max_drop is judged: give max_drop too"),
        (["max_drop=1"], "max_drop=1: what is lost along this dial (profile=acc) was not measured: run `latadj"),
        (["deadline_ms=20", "deadline_quantile=1"], "deadline_quantile=1.0: expected a number above 0, below 1"),
        (["deadline_ms=0"], "deadline_ms=0.0: expected a number above 0"),
        (["deadline_ms=20", "dial.target=flops"], "a deadline goes by latency"),
        (["resume=true", "overwrite=true"], "give one of them"),
        (["resume=true", "input=-"], "what was read from standard input is gone"),
        (["resume=true", "output=-"], "what was written to standard output is out of reach"),
        (["checkpoint=gone"], "checkpoint gone: no such folder"),
        (["prompt=zero_shot"], "predict asks a model's classification head"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(root, tmp_path, options, message):
    assert message in refused(root, tmp_path, *options)


def test_models_for_other_tasks_are_refused(root, tmp_path):
    folder = shutil.copytree(root / "checkpoint", tmp_path / "other")
    metadata = read_metadata(folder)
    metadata.task_spec.type = "generation"
    write_metadata(folder, metadata)
    message = refused(root, tmp_path / "out", f"checkpoint={folder}")
    assert "is for generation: predict serves classification, regression, token classification, question" in message


def test_several_labels_at_a_time_are_refused(root, tmp_path):
    write_checkpoint(tmp_path / "multi", root / "model", ["text"], problem_type="multi_label_classification")
    assert "several labels at a time" in refused(root, tmp_path / "out", f"checkpoint={tmp_path / 'multi'}")


def test_a_model_without_a_dial_runs_at_speedup_1_only(root, tmp_path):
    folder = shutil.copytree(root / "checkpoint", tmp_path / "plain")
    (folder / "latadj.json").unlink()
    message = refused(root, tmp_path / "out", f"checkpoint={folder}", "speedup=2")
    assert f"has none: make one with `latadj calibrate task=TASK checkpoint={folder}`" in message
    run(root, tmp_path / "out", f"checkpoint={folder}")
    assert {row["label"] for row in rows(tmp_path / "out" / "predict" / "predictions.csv")} == {"LABEL_0", "LABEL_1"}


def test_the_default_checkpoint_is_that_of_finetune(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where nobody has fine-tuned anything
    found = CliRunner().invoke(app, ["predict", "input=texts.txt"])
    assert found.exit_code == 2
    assert "outputs/minilm-rotten_tomatoes/checkpoint" in found.stderr


def test_a_length_at_which_no_word_is_read_is_refused(root, tmp_path):
    (tmp_path / "in.txt").write_text("good\n")
    files = [f"input={tmp_path}/in.txt", f"output={tmp_path}/out.csv", "max_length=2"]
    message = "max_length=2: no word fits beside the 2 special tokens: take at least 3"
    assert message in refused(root, tmp_path / "out", *files)


def test_an_output_in_whose_place_there_is_something_else_is_refused(root, tmp_path):
    (tmp_path / "in.csv").write_text("text\ngood\n")
    same = [f"input={tmp_path}/in.csv", f"output={tmp_path}/./in.csv", "overwrite=true"]
    assert "this is the input; give another name" in refused(root, tmp_path / "out", *same)
    for beside in ("part", "broken.csv"):
        (tmp_path / f"out.csv.{beside}").write_text("text\ngood\n")
        files = [f"input={tmp_path}/out.csv.{beside}", "format=csv", f"output={tmp_path}/out.csv", "overwrite=true"]
        assert f"its file {tmp_path}/out.csv.{beside} is the input; give" in refused(root, tmp_path / "out", *files)
        assert (tmp_path / f"out.csv.{beside}").read_text() == "text\ngood\n"
    (tmp_path / "folder.csv").mkdir()
    folder = [f"input={tmp_path}/in.csv", f"output={tmp_path}/folder.csv"]
    assert "this is a folder; name a file in it" in refused(root, tmp_path / "out", *folder)
