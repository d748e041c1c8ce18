"""What stages of training have in common."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.pruning_runs import EXACT, killed_in
from helpers.tiny_embedders import TEXTS, write_embedder
from transformers import AutoModelForSequenceClassification, BertTokenizerFast

from latadj.commands.common.training_checks import check_teacher
from latadj.commands.common.training_stages import attention_dropped, distillation_rows, taught_sizes
from latadj.commands.finetune import prepare
from latadj.config.compose import compose, typed
from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.tasks.encoding.batches import TEACHER
from latadj.training.arguments import total_steps


def test_a_teacher_answers_thinned_copies_too(session):
    stage = session.config.adjust
    stage.word_dropout_copies = 1
    rows, _ = distillation_rows(session, stage)
    stage.word_dropout_copies = 0
    whole, _ = distillation_rows(session, stage)
    assert len(rows) == 2 * len(whole)
    assert rows[: len(whole)]["input_ids"] == whole[:]["input_ids"]
    assert sum(rows["length"]) < 2 * sum(whole["length"])
    assert rows[len(whole) :][TEACHER] != whole[TEACHER]


@pytest.mark.parametrize(
    ("option", "truncated", "sizes"),
    [
        ("adjust.matryoshka=[32,16,8]", None, (16, 8)),
        ("adjust.matryoshka=8", 12, (8,)),
        ("task.dimensions=16", 12, (16,)),
        ("seed=0", 12, (12,)),
        ("seed=0", None, ()),
    ],
)
def test_beginnings_of_embeddings_are_taught_that_are_named_or_read(tmp_path, option, truncated, sizes):
    session = embedding_session(tmp_path, option)
    pipeline_of(session.model).truncate_dim = truncated
    found = taught_sizes(session, session.config.adjust)
    assert found == sizes
    rows, outputs = distillation_rows(session, session.config.adjust, beginnings=found)
    assert outputs.beginnings == sizes
    assert np.array(rows[TEACHER][:]).shape[1] == 32


@pytest.mark.parametrize("option", ["adjust.matryoshka", "task.dimensions"])
def test_beginnings_longer_than_an_embedding_are_refused_before_training(tmp_path, option):
    with pytest.raises(ValueError, match=rf"{option}=40: the embeddings of this model have 32 numbers"):
        embedding_session(tmp_path, f"{option}=40")


def embedding_session(root, *options):
    """A session of `latadj finetune` over texts without labels."""
    write_embedder(root / "model", layers=1)
    (root / "texts.txt").write_text("\n".join(f"{text} film {number}" for number in range(10) for text in TEXTS))
    where = [f"task.data_files={root / 'texts.txt'}", f"folder={root / 'out'}", f"model.path={root / 'model'}"]
    return prepare(typed("finetune", compose("finetune", ["task=embedding", "device.threads=1", *where, *options])))


@pytest.mark.parametrize("epochs", [0.25, 1.0, 3.0])
def test_a_stage_has_rows_for_all_its_steps_and_no_more(session, epochs):
    stage = replace(session.config.adjust, epochs=epochs, max_steps=2, batch_size=4)
    rows, _ = distillation_rows(session, stage)
    assert total_steps(stage, len(rows)) == 2
    assert total_steps(replace(stage, epochs=min(epochs, 1), max_steps=None), len(rows)) == 2


@pytest.mark.parametrize(
    ("task", "share"), [("rotten_tomatoes", 1.0), ("wnut17", 0.5), ("squad", 0.5), ("speeches", 1.0)]
)
def test_what_is_fine_tuned_already_learns_at_half_the_rate_but_dials_of_classifiers_at_all_of_it(task, share):
    config = typed("finetune", compose("finetune", [f"task={task}"]))
    assert config.adjust.learning_rate == share * config.plain.learning_rate


@pytest.fixture
def other(tmp_path):
    """A fine-tuned model with answers of its own: of two layers, its head turned round."""
    folder = toy.write_model(tmp_path / "other", layers=2)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.classifier.weight.data.neg_()
    model.save_pretrained(folder)
    return folder


def test_a_named_model_teaches_in_place_of_the_model_itself(session, other):
    own = distillation_rows(session, session.config.adjust)[0][TEACHER]
    session.config.adjust.teacher = str(other)
    taught = distillation_rows(session, session.config.adjust)[0][TEACHER]
    model = AutoModelForSequenceClassification.from_pretrained(other).eval()
    assert taught != own
    row = session.encoded(session.splits.train)[0]["input_ids"]
    assert taught[0] == pytest.approx(model(torch.tensor([row])).logits[0].tolist(), abs=1e-2)


def test_fine_tuning_goes_by_the_teacher_that_is_named(tmp_path, other):
    toy.write_model(tmp_path / "model", layers=2)
    toy.write_task(tmp_path / "data", 64)
    weights = []
    for number, teacher in enumerate(("null", other)):
        folder = tmp_path / str(number)
        options = ["plain.epochs=0", "adjust.epochs=1", f"adjust.teacher={teacher}", f"folder={folder}"]
        run("finetune", *toy.overrides(tmp_path), *options)
        weights.append((folder / "checkpoint" / "model.safetensors").read_bytes())
    assert weights[0] != weights[1]


def test_a_run_does_not_go_on_with_another_teacher(tmp_path, other):
    toy.write_model(tmp_path / "model", layers=2)
    toy.write_task(tmp_path / "data", 64)
    options = [*toy.overrides(tmp_path), "plain.epochs=0", "adjust.epochs=1", f"adjust.teacher={other}", "resume=true"]
    run("finetune", *options)
    run("finetune", *options)
    shutil.copytree(tmp_path / "model", other, dirs_exist_ok=True)
    assert "was started with other settings (teacher)" in run("finetune", *options, expect=2).stderr


def test_a_stage_that_has_begun_goes_on_in_the_same_arithmetic(tmp_path, monkeypatch):
    toy.write_model(tmp_path / "model", layers=1)
    toy.write_task(tmp_path / "data", 64)
    options = [*toy.overrides(tmp_path), "plain.epochs=2", "adjust.epochs=2", "resume=true", EXACT]
    options.append("adjust.word_dropout_copies=1")
    for stage, steps in (("plain fine-tuning", 3), ("adjustable fine-tuning", 5)):
        with killed_in(monkeypatch, stage, step=steps):
            run("finetune", *options)
        refused = run("finetune", *options, "device.train_precision=bf16", expect=2).stderr
        assert "was started with other settings (train_precision)" in refused
    log = tmp_path / "out" / "finetune" / "finetune.log"
    assert "plain fine-tuning: going on from" in log.read_text()
    run("finetune", *options)
    assert "adjustable fine-tuning: going on from" in log.read_text()
    assert (tmp_path / "out" / "checkpoint" / "latadj.json").is_file()


@pytest.mark.parametrize("share", [0.3, None])
def test_the_dropout_of_a_stage_ends_with_it(session, share):
    profile_type, (layer,) = architecture_of(session.model), layers_of(session.model)
    session.model.train()
    own = profile_type.attention(layer)[1]
    with attention_dropped(session, replace(session.config.plain, attention_dropout=share)):
        assert profile_type.attention(layer)[1] == (own if share is None else share)
    assert profile_type.attention(layer)[1] == own > 0


@pytest.mark.parametrize("command", ["finetune", "prune"])
def test_who_cannot_teach_is_refused_in_one_line(tmp_path, other, command):
    toy.write_model(tmp_path / "model", layers=2)
    toy.write_task(tmp_path / "data", 64)
    option = {"finetune": "adjust.teacher", "prune": "recover.teacher"}[command]
    subject = [f"checkpoint={tmp_path / 'model'}"] if command == "prune" else []

    def refused(folder):
        result = run(command, *toy.overrides(tmp_path), *subject, f"{option}={folder}", expect=2)
        assert result.stderr.count("\n") == 1, result.stderr
        assert not (tmp_path / "out").exists()
        return result.stderr

    assert f"{option}=nowhere: no such folder; name a fine-tuned model" in refused("nowhere")
    (other / "model.safetensors").unlink()
    assert f"{option}={other}: checkpoint {other}: no model.safetensors" in refused(other)


@pytest.mark.parametrize("option", ["adjust.teacher", "model.path"])
def test_a_model_is_not_put_in_the_place_of_what_it_comes_from(tmp_path, other, option):
    toy.write_model(tmp_path / "model", layers=2)
    toy.write_task(tmp_path / "data", 64)
    shutil.copytree(other, tmp_path / "out" / "checkpoint")
    source = f"{option}={tmp_path / 'out' / 'checkpoint'}"
    message = run("finetune", *toy.overrides(tmp_path), source, "plain.epochs=0", expect=2).stderr
    assert "checkpoint is in this folder, and a model takes the place of all that was there" in message
    assert (tmp_path / "out" / "checkpoint" / "model.safetensors").is_file()


def test_a_teacher_has_its_students_labels_and_tokens(session, other):
    session.config.adjust.teacher = str(other)
    config = json.loads((other / "config.json").read_text())
    config["id2label"] = {"0": "positive", "1": "negative"}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"adjust.teacher=.*: its outputs stand for \['positive', 'negative'\]"):
        check_teacher(session.config)
    toy.write_model(other, layers=2)
    vocabulary = (other / "vocab.txt").read_text().split("\n")
    vocabulary[-1] = "more"
    BertTokenizerFast(vocab={word: place for place, word in enumerate(vocabulary)}).save_pretrained(other)
    with pytest.raises(ValueError, match="its tokens are not those of its student"):
        prepare(session.config)


def test_a_teacher_reads_all_that_its_student_does(session, other):
    model = AutoModelForSequenceClassification.from_pretrained(other)
    model.config.max_position_embeddings = 12
    embeddings = model.bert.embeddings.position_embeddings
    embeddings.weight.data = embeddings.weight.data[:12].clone()
    model.save_pretrained(other)
    session.config.adjust.teacher = str(other)
    with pytest.raises(ValueError, match=r"it reads 12 tokens, its student up to \d+; .*max_length=12"):
        prepare(session.config)
    session.config.task.max_length = 12
    prepare(session.config)
