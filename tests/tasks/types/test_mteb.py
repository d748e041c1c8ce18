"""What is refused of a task of mteb before that package is imported."""

import pytest

from latadj.config import TaskConfig
from latadj.tasks.data.paths import require_files
from latadj.tasks.types import task_type_of


def task(name="STSBenchmark", **options):
    known = {"type": "mteb", "text": ["text"], "labels": [], "metric": "main_score"}
    return TaskConfig(name=name, **known | options)


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("latadj.tasks.data.paths.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"task=mteb needs the package mteb: pip install 'latadj\[mteb\]'"):
        require_files(task())


def test_a_task_has_a_name(monkeypatch):
    monkeypatch.setattr("latadj.tasks.data.paths.find_spec", lambda name: object())
    require_files(task())
    with pytest.raises(ValueError, match=r"which task of mteb\? Name it, as in task.name=STSBenchmark"):
        require_files(task("mteb"))


def test_there_is_nothing_to_train_on():
    assert task_type_of(task()).load(train=False).tests == {}
    with pytest.raises(ValueError, match="nothing to train or calibrate on: do that with task=embedding"):
        task_type_of(task()).load()


def test_files_and_other_metrics_are_refused():
    assert task(data_dir="films").problems() == [
        "type=mteb: mteb has the data of STSBenchmark; leave data_dir and data_files out"
    ]
    with pytest.raises(ValueError, match=r"task.metric=ndcg: expected main_score"):
        task_type_of(task(metric="ndcg")).check()
