"""What stages of training have in common."""

import pytest
import toy

from latadj.commands.finetune import prepare
from latadj.commands.stages import taught_rows
from latadj.launch import compose, typed
from latadj.training.collate import TEACHER


@pytest.fixture
def session(tmp_path):
    toy.write_model(tmp_path / "model", layers=1)
    toy.write_task(tmp_path / "data", 64)
    return prepare(typed("finetune", compose("finetune", toy.overrides(tmp_path))))


def test_a_teacher_answers_thinned_copies_too(session):
    stage = session.config.adjust
    rows = taught_rows(session, stage)
    stage.thinned = 0
    whole = taught_rows(session, stage)
    assert len(rows) == 2 * len(whole)
    assert rows[: len(whole)]["input_ids"] == whole[:]["input_ids"]
    assert sum(rows["length"]) < 2 * sum(whole["length"])
    assert rows[len(whole) :][TEACHER] != whole[TEACHER]


def test_what_is_fine_tuned_already_learns_at_half_the_rate(session):
    assert session.config.adjust.learning_rate == session.config.plain.learning_rate / 2
