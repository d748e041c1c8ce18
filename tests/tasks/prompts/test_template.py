import pytest

from latadj.config import PromptConfig, TaskConfig
from latadj.config.compose import compose, typed
from latadj.tasks.prompts import fill

PAIR = TaskConfig(name="pair", text=["premise", "claim"], labels=["0", "1"], label_words=["no", "yes"])
EXAMPLE = {"premise": "It {rains}.", "claim": "It is wet."}


def prompt(**options):
    return PromptConfig(**{"name": "mine", "query": "{input}\n{answer}:", **options})


def problems(prompt, task):
    return [*(f"prompt.{problem}" for problem in prompt.problems()), *prompt.problems_for(task)]


def test_a_template_is_filled_from_example_task_and_label():
    template = "{claim} | {premise} | {description} | {answer} | {label_words} | {label}"
    task = TaskConfig(**{**vars(PAIR), "description": "Is it so?", "answer": "So"})
    assert fill(template, task, EXAMPLE, 1) == "It is wet. | It {rains}. | Is it so? | So | no or yes | yes"


def test_without_a_template_of_the_tasks_own_each_column_has_a_line():
    assert fill("{input}", PAIR, EXAMPLE) == "Premise: It {rains}.\nClaim: It is wet."


def test_a_task_says_how_its_examples_are_shown():
    task = TaskConfig(**{**vars(PAIR), "input": "If {premise} then {claim}"})
    assert fill("{input}", task, EXAMPLE) == "If It {rains}. then It is wet."


def test_labels_stand_for_themselves_where_the_task_names_no_words():
    task = TaskConfig(name="toy", text=["text"], labels=["a", "b", "c"])
    assert fill("{label_words}: {label}", task, None, 2) == "a, b or c: c"
    assert problems(prompt(), task) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"query": "{txt}:"},
            "prompt.query: unknown field {txt}; there are {premise}, {claim}, {input}, {description}, {answer}, "
            "{label_words}",
        ),
        ({"instruction": "{claim}"}, "prompt.instruction: unknown field {claim}; there are {description}, {answer}"),
        ({"query": "{input} {label}"}, "prompt.query: unknown field {label}; there are"),
        ({"query": "{}"}, "prompt.query: unknown field {}; there are"),
        ({"query": "{input.__class__}"}, "prompt.query: unknown field {input.__class__}; there are"),
        ({"query": "{input"}, "prompt.query: not a template"),
        ({"query": "Answer:"}, "prompt.query: shows nothing of the example; use {premise}, {claim}, {input}"),
        ({"shots": 2}, "prompt.shot: needs the field {label} for prompt.shots=2"),
        ({"shots": -1}, "prompt.shots=-1: expected at least 0"),
        ({"calibrate": -1}, "prompt.calibrate=-1: expected at least 0"),
    ],
)
def test_a_bad_template_says_what_is_possible(options, message):
    (found,) = problems(prompt(**options), PAIR)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [], "label_words": []}, "prompt=mine: task=pair has no labels to answer with"),
        ({"label_words": ["yes"]}, "task.label_words=['yes']: expected 2 different words, one for each of ['0', '1']"),
        ({"label_words": ["yes", "yes"]}, "task.label_words=['yes', 'yes']: expected 2 different words"),
        ({"input": "{text}"}, "task.input: unknown field {text}; there are {premise}, {claim}"),
    ],
)
def test_a_task_that_cannot_be_asked_is_named(options, message):
    (found,) = problems(prompt(), TaskConfig(**{**vars(PAIR), **options}))
    assert found.startswith(message)


@pytest.mark.parametrize("name", ["zero_shot", "few_shot", "instruction", "chain_of_thought"])
@pytest.mark.parametrize("task", ["cola", "mnli", "mrpc", "newsgroups", "qnli", "qqp", "rte", "sst2", "wnli"])
def test_every_prompt_suits_every_classification_task(name, task):
    config = typed("eval", compose("eval", [f"prompt={name}", f"task={task}", "prompt.shots=1"]))
    assert config.prompt.shots == 1
    example = dict.fromkeys(config.task.text, "TEXT")
    assert fill(config.prompt.query, config.task, example).count("TEXT") == len(config.task.text)


def test_no_prompt_is_chosen_unless_asked_for():
    assert typed("eval", compose("eval", [])).prompt is None


def test_a_bad_template_is_refused_with_the_other_values():
    with pytest.raises(ValueError, match=r"device.precision=fp8.*; prompt.query: unknown field \{txt\}"):
        typed("eval", compose("eval", ["prompt=few_shot", "prompt.query='{txt}'", "device.precision=fp8"]))


@pytest.mark.parametrize("column", ["a.b", "../../etc", "a[0]", "0", "é à"])
def test_a_column_may_have_any_name(column):
    task = TaskConfig(name="toy", text=[column], labels=["0", "1"])
    assert PromptConfig(name="mine", query="{input}\n{answer}:").problems_for(task) == []
    assert fill("{input} {answer}", task, {column: "{x} {0.a}"}) == f"{column.capitalize()}: {{x}} {{0.a}} Answer"
    assert fill(f"<{{{column}}}>", task, {column: "x"}) == "<x>"
