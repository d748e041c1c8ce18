"""The dial goes up at once and down slowly."""

from latadj.server.speed_policy import CALM, SpeedPolicy


def test_up_at_once():
    policy = SpeedPolicy()
    assert [policy.turn(needed, idle=False) for needed in (0, 7, 30)] == [0, 7, 30]


def test_down_a_step_a_batch_once_some_were_calm():
    policy = SpeedPolicy()
    policy.turn(5, idle=False)
    found = [policy.turn(0, idle=False) for _ in range(8)]
    assert found == [5] * (CALM - 1) + [4, 3, 2, 1, 0, 0][: 8 - CALM + 1]


def test_a_need_in_between_starts_the_calm_anew():
    policy = SpeedPolicy()
    for needed in (5, 0, 0, 5):
        policy.turn(needed, idle=False)
    assert [policy.turn(0, idle=False) for _ in range(2)] == [5, 5]


def test_it_never_goes_below_what_is_needed():
    policy = SpeedPolicy()
    policy.turn(5, idle=False)
    assert [policy.turn(4, idle=False) for _ in range(6)][-1] == 4


def test_an_idle_server_has_nothing_to_be_careful_of():
    policy = SpeedPolicy()
    policy.turn(30, idle=False)
    assert policy.turn(0, idle=True) == 0
