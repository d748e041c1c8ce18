"""Which speedup keeps up with the texts that come."""

import pytest
from helpers.simulated_server import BATCH, CAPACITY, SPEEDUPS, table

from latadj.server.corrected_times import CorrectedTimes
from latadj.server.offered_load import OfferedLoad
from latadj.server.time_fit import BatchTimes
from latadj.server.work_items import Item

DEADLINE_S = 0.05


@pytest.fixture
def times():
    return CorrectedTimes(SPEEDUPS, BatchTimes.predicted(table(), BATCH))


def offered(load, seconds=2.0, length=20, deadline_s=DEADLINE_S, leaves=False):
    found = OfferedLoad(DEADLINE_S / 2, DEADLINE_S)
    for number in range(int(load * CAPACITY * seconds)):
        now = number / (load * CAPACITY)
        item = Item(None, length, now, now + deadline_s, len(SPEEDUPS) - 1)
        found.came(item, now)
        if leaves:
            found.left(item, now)
    return found


def speedup(load, times, replicas=1, **options):
    return SPEEDUPS[offered(load, **options).needed(2.0, times, replicas)[0]]


def test_a_light_load_needs_none(times):
    assert speedup(0.8, times) == 1.0


def test_more_needs_more(times):
    assert 1.0 < speedup(2.0, times) < speedup(4.0, times) < SPEEDUPS[-1]
    assert speedup(30.0, times) == SPEEDUPS[-1]


def test_long_texts_need_more(times):
    assert speedup(2.0, times, length=40) > speedup(2.0, times)


def test_two_replicas_share_it(times):
    assert speedup(4.0, times, replicas=2) == speedup(2.0, times)


def test_what_has_time_needs_less(times):
    assert speedup(4.0, times, deadline_s=10.0) == 1.0


def test_who_left_counts_no_more(times):
    assert speedup(4.0, times, leaves=True) == 1.0


def test_what_came_long_ago_is_forgotten(times):
    load = offered(4.0)
    assert load.needed(2.0, times, 1)[0] > 0
    assert load.needed(5.0, times, 1) == (0, 0.0)


def test_the_more_come_the_more_room_a_batch_needs(times):
    _, little = offered(0.5).needed(2.0, times, 1)
    _, more = offered(6.0).needed(2.0, times, 1)
    assert little == 0.0
    assert more > 0.003
