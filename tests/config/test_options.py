"""What schemas declare: help, rules, and how values are read."""

import pkgutil
import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest

import latadj.config
from latadj.config import GLUE_TASKS, PRECISIONS, SCHEMAS, TASK_TYPES
from latadj.config.compose import compose, typed
from latadj.config.fields import section_of
from latadj.kernels import linear
from latadj.tasks.glue import GLUE
from latadj.tasks.types import TASK_CLASSES


def sections(schema):
    """A schema and all sections below it."""
    yield schema
    for hint in get_type_hints(schema).values():
        if section_of(hint):
            yield from sections(section_of(hint))


ALL = sorted({section for schema in SCHEMAS.values() for section in sections(schema)}, key=lambda one: one.__name__)


@pytest.mark.parametrize("schema", ALL)
def test_every_field_says_in_one_line_what_it_is(schema):
    for declared in fields(schema):
        text = declared.metadata["help"]
        assert text, declared.name
        assert "\n" not in text
        assert len(text) <= 110, declared.name


def test_config_imports_neither_torch_nor_transformers_nor_what_stands_above_it():
    names = [module.name for module in pkgutil.walk_packages(latadj.config.__path__, "latadj.config.")]
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
above = ("tasks", "commands", "checkpoints", "kernels", "devices", "reporting", "benchmark", "inference", "training")
print([m for m in sys.modules if m in ("torch", "transformers") or m.startswith(tuple(f"latadj.{{a}}" for a in above))])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_names_of_config_are_those_of_the_code():
    assert set(TASK_CLASSES) == set(TASK_TYPES)
    assert tuple(GLUE) == GLUE_TASKS
    assert tuple(linear.DTYPES) == PRECISIONS


@pytest.mark.parametrize(
    ("command", "overrides", "key", "expected"),
    [
        ("sweep", ["speedup=1..3"], "speedup", [1.0, 2.0, 3.0]),
        ("sweep", ["speedup=2"], "speedup", [2.0]),
        ("bench", ["speedup=[1,2]"], "speedup", [1.0, 2.0]),
        ("eval", ["speedup=2"], "speedup", 2.0),
        ("explain", [], "speedup", 2.0),
        ("predict", [], "speedup", None),
        ("predict", ["speedup=3"], "speedup", 3.0),
        ("glue", ["submission=1..2"], "submission", [1.0, 2.0]),
        ("glue", ["submission=true"], "submission", True),
        ("sweep", ["task.text=review"], "task.text", ["review"]),
        ("sweep", ["task=imdb", "task.hub.test=test"], "task.hub.test", ["test"]),
        ("sweep", ["task=text_classification"], "task.hub", None),
        ("prune", ["prune.layers=2"], "prune.layers", [2]),
        ("sweep", ["experiment=axformer"], "compare.models.dial.speedup", [1 + step / 4 for step in range(17)]),
    ],
)
def test_what_is_written_in_short_is_read_once(command, overrides, key, expected):
    value = typed(command, compose(command, overrides))
    for name in key.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    assert value == expected


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        ("eval", ["speedup=1..3"], "speedup=1..3: eval takes one speedup; `latadj sweep` takes several"),
        ("predict", ["speedup=2", "deadline_ms=5"], "speedup=2 with deadline_ms: a deadline picks speedups"),
        ("glue", ["submission=fast"], "submission=fast: expected true, false, a speedup or a list of them"),
        ("glue", ["tasks=[sst2,imdb]"], "tasks=[sst2,imdb]: expected a list of some of cola, sst2"),
        (
            "sweep",
            ["speedup=fast", "dial.target=time"],
            "or a list [1,1.5,2]; dial.target=time: expected one of",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_all_else(command, overrides, message):
    with pytest.raises(ValueError) as refusal:
        typed(command, compose(command, overrides))
    assert message in str(refusal.value)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("predict", "deadline_ms"),
        ("calibrate", "calibration.max_speedup"),
        ("calibrate", "calibration.max_flops"),
        ("calibrate", "clock.budget_s"),
        ("calibrate", "search.speedups"),
        ("finetune", "plain.epochs"),
        ("finetune", "adjust.dropout"),
    ],
)
def test_a_number_that_is_not_finite_is_refused_at_once(command, key, value):
    written = f"[2,{value}]" if key == "search.speedups" else value
    with pytest.raises(ValueError, match=f"{key}=.*expected a finite number"):
        typed(command, compose(command, [f"{key}={written}"]))


def test_a_dropout_above_1_is_refused_at_once():
    with pytest.raises(ValueError, match=r"adjust\.dropout=2\.0: expected a share from 0 to below 1"):
        typed("finetune", compose("finetune", ["adjust.dropout=2"]))
