"""Who runs when, how fast, and who is turned away: in simulation, with a model whose time is known."""

import numpy as np
import pytest
from helpers.simulated_server import CAPACITY, SPEEDUPS, poisson, scheduler, seconds, simulate

from latadj.server import scheduler as scheduler_module
from latadj.server.work_items import Item, Ticket

LAST = len(SPEEDUPS) - 1


def item(number=0, *, now=0.0, deadline=0.05, length=20, ceiling=LAST, ticket=None):
    return Item(None, length, now, now + deadline, ceiling, ticket or Ticket(), number)


def steady(load, seconds=2.0, **options):
    server = scheduler(options.pop("deadline_s", 0.05), options.pop("fixed", None))
    return simulate(server, poisson(load * CAPACITY, seconds), noise=0.1, **options)


def test_a_light_load_runs_at_1x():
    found = steady(0.5)
    assert found.in_time == 1.0
    assert {place for _, _, place in found.batches} == {0}


@pytest.mark.parametrize(("load", "most"), [(1.5, 1.35), (2.0, 1.8), (3.0, 2.8)])
def test_the_dial_goes_as_far_as_the_load_asks_for(load, most):
    found = steady(load)
    assert found.in_time >= 0.995
    assert 1.0 < found.speedup < most


def at_once(found):
    """Of those who were turned away, the share that cost nothing before."""
    return list(found.shed.values()).count("refused") / len(found.shed)


def test_a_fixed_speed_sheds_what_the_dial_would_have_answered():
    found = steady(2.0, fixed=1.0)
    assert found.in_time < 0.85
    assert len(found.late) <= 0.01 * len(found.answered)  # who is let in is answered in time
    assert at_once(found) >= 0.95


def test_what_no_speedup_can_answer_is_turned_away_at_once_and_the_rest_is_in_time():
    found = steady(12.0, 0.5)
    assert at_once(found) >= 0.8  # the first ones are let in before it is known how many come
    assert len(found.late) <= 0.02 * len(found.answered)
    assert found.in_time > 0.5
    assert found.speedup > 4.5


def test_every_request_is_answered_or_turned_away_once():
    arrivals = poisson(6 * CAPACITY, 0.5)
    found = simulate(scheduler(), arrivals, noise=0.3)
    assert sorted([*found.answered, *found.shed]) == list(range(len(arrivals)))


def test_a_batch_never_goes_past_what_a_text_of_it_may_lose():
    ceilings = {}
    server = scheduler()
    found = simulate(
        server,
        poisson(2 * CAPACITY, 1.0),
        ceiling=lambda number: ceilings.setdefault(number, [2, 12, LAST][number % 3]),
    )
    assert found.in_time > 0.9
    assert {place for _, _, place in found.batches} > {2}
    texts = [number for number in found.answered if number % 3 == 0]
    assert texts  # those that lose next to nothing are not starved by the others


def test_a_text_runs_at_most_at_its_ceiling():
    server = scheduler()
    items = [item(number, ceiling=[3, LAST][number % 2]) for number in range(14)]
    for one in items:
        server.admit([one], 0.0)
    now = 0.0
    while server.waiting:
        batch, _ = server.next_batch(now)
        assert batch.place <= min(one.ceiling for one in batch.items)
        server.ended(batch, now, now + 0.002)
        now += 0.002


def test_long_deadlines_are_not_starved_by_short_ones():
    found = simulate(
        scheduler(0.03), poisson(2.0 * CAPACITY, 2.0), deadline=lambda number: 0.4 if number % 10 == 0 else 0.03
    )
    patient = [number for number in found.answered if number % 10 == 0]
    assert len(patient) > 0.95 * len([number for number in [*found.answered, *found.shed] if number % 10 == 0])
    assert not set(patient) & set(found.late)


def test_texts_of_one_length_and_deadline_run_in_the_order_in_which_they_came():
    found = simulate(scheduler(), poisson(3 * CAPACITY, 0.5))
    starts = []
    server = scheduler()
    for number in range(30):
        server.admit([item(number, now=0.0001 * number)], 0.0001 * number)
    now = 0.01
    while server.waiting:
        batch, _ = server.next_batch(now)
        starts += [one.number for one in batch.items]
        now += 0.001
        server.ended(batch, now - 0.001, now)
    assert starts == list(range(30))
    assert found.answered


def test_a_batch_holds_texts_of_like_length_within_the_token_budget():
    server = scheduler(1.0)
    for number in range(60):
        server.admit([item(number, deadline=2.0, length=[20, 200][number % 2])], 0.0)
    now, seen = 0.0, []
    while server.waiting:
        batch, _ = server.next_batch(now)
        assert len(set(batch.lengths)) == 1
        assert max(batch.lengths) * len(batch.items) <= server.limits.tokens
        seen += batch.items
        now += seconds(batch.lengths, SPEEDUPS[batch.place])
        server.ended(batch, now - seconds(batch.lengths, SPEEDUPS[batch.place]), now)
    assert len(seen) == 60


def test_a_large_request_is_split():
    server, ticket = scheduler(1.0), Ticket()
    assert server.admit([item(number, deadline=1.0, ticket=ticket) for number in range(250)], 0.0) is None
    sizes, now = [], 0.0
    while server.waiting:
        batch, _ = server.next_batch(now)
        sizes.append(len(batch.items))
        took = seconds(batch.lengths, SPEEDUPS[batch.place])
        server.ended(batch, now, now + took)
        now += took
    assert sum(sizes) == 250
    assert len(sizes) > 1
    assert now <= 1.0


def test_a_request_that_would_make_others_late_is_turned_away_and_says_when_to_come_back():
    server = scheduler(0.05)
    count = 0
    while (refusal := server.admit([item(count, deadline=0.05)], 0.0)) is None:
        count += 1
    assert count > 10
    assert 0.03 < refusal.retry_after < 0.1
    hasty = server.admit([item(count + 1, deadline=0.01)], 0.0)
    assert hasty is not None  # it would be first in line itself, but not without making the last ones late


def test_who_hung_up_is_dropped_before_it_costs_anything():
    found = simulate(scheduler(), poisson(3 * CAPACITY, 1.0), hang_up=lambda number: number % 2 == 0)
    gone = {number for number, reason in found.shed.items() if reason == "hung_up"}
    assert gone and all(number % 2 == 0 for number in gone)
    assert found.speedup < 1.6  # as for half the load


def test_an_expired_text_is_dropped_with_the_others_of_its_request():
    server, ticket = scheduler(), Ticket()
    server.admit([item(number, ticket=ticket) for number in range(3)], 0.0)
    server.admit([item(9, deadline=5.0)], 0.0)
    batch, dropped = server.next_batch(0.2)
    assert {one.reason for one in dropped} == {"expired"}
    assert [one.number for one in batch.items] == [9]


def test_two_replicas_answer_twice_as_much():
    server = scheduler(replicas=2)
    count = 0
    while server.admit([item(count)], 0.0) is None:
        count += 1
    single = scheduler()
    alone = 0
    while single.admit([item(alone)], 0.0) is None:
        alone += 1
    assert count > 1.7 * alone
    first, _ = server.next_batch(0.0, 0)
    second, _ = server.next_batch(0.0, 1)
    assert not {id(one) for one in first.items} & {id(one) for one in second.items}


def test_no_more_wait_than_are_allowed():
    server = scheduler(most=5)
    refusals = [server.admit([item(number, deadline=10.0)], 0.0) for number in range(7)]
    assert [refusal is None for refusal in refusals] == [True] * 5 + [False] * 2
    assert "5 texts wait already" in refusals[-1].reason


def test_a_core_that_is_taken_away_is_made_up_for_and_given_back():
    arrivals = poisson(CAPACITY, 3.0)
    found = simulate(scheduler(), arrivals, noise=0.1, slowdown=lambda now: 2.5 if 1.0 < now < 2.0 else 1.0)
    missed = [arrivals[number] for number in [*found.late, *found.shed]]
    assert len(missed) <= 0.005 * len(arrivals)
    mean = {
        name: np.mean([SPEEDUPS[place] for start, _, place in found.batches if begin < start < end])
        for name, begin, end in (("before", 0.2, 1.0), ("taken", 1.2, 2.0), ("after", 2.4, 3.0))
    }
    assert mean["before"] < 1.05
    assert mean["taken"] > 1.5
    assert mean["after"] < 1.05


def test_a_wrong_clock_does_not_turn_everybody_away_for_ever():
    server = scheduler()
    server.times._levels = [np.log(50.0)] * len(server.times._levels)  # as if 1x took fifty times as long
    found = simulate(server, poisson(0.3 * CAPACITY, 10.0, seed=3))
    late_ones = [number for number in found.shed if number > 600]
    assert len(late_ones) < 0.2 * (len(found.answered) + len(found.shed))


@pytest.mark.parametrize(("load", "least"), [(1.5, 0.995), (2.0, 0.99), (3.0, 0.97)])
def test_a_deadline_of_three_times_what_a_text_takes_is_met_beyond_the_full_models_load(load, least):
    deadline_s = 3 * seconds([20], 1.0)
    found = simulate(scheduler(deadline_s), poisson(load * CAPACITY, 2.0), noise=0.1, deadline_s=deadline_s)
    assert found.in_time >= least


def test_batches_that_are_held_up_now_and_then_are_no_reason_to_turn_everybody_away():
    held_up = np.random.default_rng(5)
    found = simulate(
        scheduler(0.05),
        poisson(0.5 * CAPACITY, 3.0),
        noise=0.2,
        slowdown=lambda now: 10.0 if held_up.random() < 0.03 else 1.0,
    )
    assert found.in_time > 0.9


def test_many_that_wait_are_planned_once_and_not_for_each_that_comes(monkeypatch):
    server, plans = scheduler(30.0), []
    original = scheduler_module.lateness
    monkeypatch.setattr(
        scheduler_module, "lateness", lambda *given, **options: plans.append(1) or original(*given, **options)
    )
    for number in range(500):
        assert server.admit([item(number, now=1e-5 * number, deadline=30.0)], 1e-5 * number) is None
    assert len(plans) <= 2


def test_a_request_like_one_that_was_turned_away_is_turned_away_without_a_plan(monkeypatch):
    server = scheduler(0.05)
    while server.admit([item(deadline=0.05)], 0.0) is None:
        pass
    monkeypatch.setattr(scheduler_module, "lateness", None)
    assert server.admit([item(deadline=0.05)], 0.0) is not None
    assert server.admit([item(deadline=0.04, length=30)], 0.0) is not None


def test_a_load_beyond_the_full_model_needs_no_speedup_while_the_deadline_is_far():
    found = simulate(scheduler(60.0), poisson(2 * CAPACITY, 2.0), deadline_s=60.0)
    assert found.in_time == 1.0
    assert found.speedup == 1.0
