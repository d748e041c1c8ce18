import numpy as np
import pytest

from latadj.commands.evaluation.length_groups import example_lengths, length_groups


def test_fifths_hold_every_example_once_and_the_shortest_stand_apart():
    lengths = np.random.default_rng(0).permutation(np.arange(1, 401))
    shortest, *fifths = length_groups(lengths)
    assert (shortest.name, shortest.least, shortest.most) == ("shortest 5%", 1, 20)
    assert np.array_equal(np.sort(np.concatenate([group.places for group in fifths])), np.arange(400))
    assert [(group.least, group.most) for group in fifths] == [(1 + 80 * n, 80 * (n + 1)) for n in range(5)]


@pytest.mark.parametrize("lengths", [np.full(400, 7), np.arange(40)], ids=["all alike", "few"])
def test_what_cannot_be_divided_has_no_groups(lengths):
    assert not list(length_groups(lengths))


def test_an_example_is_as_long_as_its_longest_row():
    assert example_lengths(np.array([9, 3, 5]), [2, 2, 0], 3).tolist() == [5, 0, 9]
