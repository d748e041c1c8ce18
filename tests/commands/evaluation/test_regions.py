import pytest
from rich.console import Console

from latadj.commands.evaluation.evaluate import region_table
from latadj.inference.region_survival import region_shares

SHORT = [{"name": "shots", "start": 0, "stop": 4}, {"name": "query", "start": 4, "stop": 6}]
LONG = [
    {"name": "instruction", "start": 0, "stop": 2},
    {"name": "shots", "start": 2, "stop": 8},
    {"name": "query", "start": 8, "stop": 12},
]
SURVIVORS = [
    [[0, 1, 2, 3, 4, 5], list(range(12))],
    [[0, 3, 5], [1, 2, 7, 8, 9, 11]],
    [[5], [11]],
]


def test_shares_count_the_tokens_of_all_prompts_together():
    found = region_shares(SURVIVORS, [SHORT, LONG])
    assert found.shares == {
        "shots": [1.0, pytest.approx(4 / 10), 0.0],
        "query": [1.0, pytest.approx(4 / 6), pytest.approx(2 / 6)],
        "instruction": [1.0, 0.5, 0.0],
        "all": [1.0, pytest.approx(9 / 18), pytest.approx(2 / 18)],
    }


def test_tokens_are_those_of_the_prompts_that_have_the_region():
    found = region_shares(SURVIVORS, [SHORT, LONG])
    assert found.tokens == {"shots": 5.0, "query": 3.0, "instruction": 2.0, "all": 9.0}


def test_the_table_has_a_line_for_each_layer():
    console = Console(width=100)
    with console.capture() as capture:
        console.print(region_table(region_shares(SURVIVORS, [SHORT, LONG])).fitted(100))
    text = capture.get()
    assert "shots (5)" in text
    (second,) = [line for line in text.splitlines() if line.strip().startswith("2 ")]
    assert second.split() == ["2", "40.0%", "66.7%", "50.0%", "50.0%"]


@pytest.mark.parametrize(
    ("survivors", "message"),
    [
        ([[[0]]], "layer 0 has survivors of 1 prompts, there are 2"),
        ([[[6], [0]]], "layer 0: a survivor stands outside its prompt of 6 tokens"),
        ([[[-1], [0]]], "layer 0: a survivor stands outside its prompt of 6 tokens"),
    ],
)
def test_survivors_that_are_not_of_these_prompts_are_refused(survivors, message):
    with pytest.raises(ValueError, match=message):
        region_shares(survivors, [SHORT, LONG])
