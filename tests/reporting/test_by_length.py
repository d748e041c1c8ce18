import pytest

from latadj.reporting.results.by_length import LengthGroup, by_length_tables, length_warnings
from latadj.reporting.results.sweep import points


def group(loss, low, name="shortest 5%", agreement=0.5):
    return LengthGroup(name, 3, 7, 50, 0.8, loss, (low, loss + 0.1), agreement)


def test_a_group_has_a_line_and_a_speedup_a_column():
    groups = {"1x": [group(0.0, 0.0, agreement=1.0)], "2x": [group(0.052, 0.01)]}
    (table,) = by_length_tables(groups, "drop in points", points)
    assert table.title == "By length: drop in points, and agreement with 1x"
    assert table.cells() == [["shortest 5%", "3–7", "50", "+0.0 100%", "+5.2 50%"]]


def test_continuations_have_no_agreement():
    (table,) = by_length_tables({"2x": [group(0.1, 0.0, agreement=None)]}, "increase", "{:+.1%}".format)
    assert table.title == "By length: increase"
    assert table.cells()[0][-1] == "+10.0%"


def test_no_groups_no_table():
    assert by_length_tables({"2x": []}, "drop", points) == []


@pytest.mark.parametrize(
    ("loss", "low", "average", "said"),
    [
        (0.31, 0.15, 0.1, "3.1 times as much"),
        (0.29, 0.15, 0.1, None),
        (0.31, 0.05, 0.1, None),  # by chance
        (0.05, 0.01, -0.01, "though the average does not"),
    ],
)
def test_a_group_that_loses_far_more_than_the_average_is_named(loss, low, average, said):
    warnings = length_warnings("2x", average, [group(loss, low), group(average, average, "middle fifth")])
    assert bool(warnings) == (said is not None)
    assert all(said in text and "shortest 5% of the texts (3–7 tokens)" in text for text in warnings)
