"""What is said of long work where no terminal is."""

import logging

import pytest

from latadj.utils import console


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def lines(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_time_left_does_not_count_what_the_first_step_set_up(clock, caplog):
    caplog.set_level(logging.INFO)
    with console.progress("training", 100) as steps:
        clock.now = 15.0
        steps.advance()
        for _ in range(5):
            clock.now += 2.0
            steps.advance()
    assert lines(caplog) == ["training: 4 of 100, 2.0 s each, 192 s left"]


def test_of_texts_a_line_says_the_rate_and_the_share_where_the_total_is_known(clock, caplog):
    caplog.set_level(logging.INFO)
    for total in (1000, None):
        with console.progress("predict", total, "texts") as steps:
            steps.start_at(50, 500)
            clock.now += 20.0
            steps.advance(4000, each=0.1)
    assert lines(caplog) == ["predict: 4,050 texts, 200 texts/s, 90%", "predict: 4,050 texts, 200 texts/s"]


def test_the_first_step_alone_is_all_there_is_to_go_by(clock, caplog):
    caplog.set_level(logging.INFO)
    with console.progress("training", 3) as steps:
        clock.now = 30.0
        steps.advance(note="epoch 0.1")
    assert lines(caplog) == ["training: 1 of 3, 30.0 s each, 60 s left, epoch 0.1"]


def test_steps_of_an_earlier_run_say_nothing_of_the_rate(clock, caplog):
    caplog.set_level(logging.INFO)
    with console.progress("training", 100) as steps:
        steps.start_at(90)
        clock.now = 25.0
        steps.advance(0)
        clock.now = 50.0
        steps.advance(5)
    assert lines(caplog) == ["training: 90 of 100", "training: 95 of 100, 10.0 s each, 50 s left"]
