"""Which batches waiting texts would form at a speedup, and who would be late. Pure: it reads no clock."""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence

from latadj.server.corrected_times import Times
from latadj.server.work_items import Batch, BatchLimits, Item

# Texts of a batch differ in length by no more than this factor, or by so few tokens that it does not matter: only
# attention sees the padding.
LIKE, FEW = 1.5, 64
# Behind the first text, so many are looked through for those of like length.
WINDOW = 96


def planned(
    waiting: Sequence[Item],
    place: int,
    free: Sequence[float],
    times: Times,
    limits: BatchLimits,
    late: list[Item],
    cautious: bool = True,
) -> Iterator[Batch]:
    """The batches of waiting texts, in the order in which they would start.

    Parameters
    ----------
    waiting : by rising deadline
    place : of the speedup; a text's own ceiling holds
    free : when each replica is free
    late : gets the leaders of batches that end after they are due; one that is past its deadline takes no time
    cautious : go by when most such batches have ended, else by when they end as a rule
    """
    replicas, left = list(free), deque(waiting)
    heapq.heapify(replicas)
    while left:
        leader = left[0]
        batch = first_batch(left, place, replicas[0], times, limits)
        if (batch.end if cautious else batch.usual) > leader.due(limits.reserve):
            late.append(leader)
        if batch.end <= leader.deadline:
            # Of several batches, one after the other, not all take longer than usual.
            heapq.heapreplace(replicas, batch.usual)
            yield batch


def first_batch(waiting: deque[Item], place: int, start: float, times: Times, limits: BatchLimits) -> Batch:
    """The batch that the first text leads; its texts are taken out of ``waiting``.

    The text whose answer is due first leads, and others of like length join it while the batch stays within the limits
    and ends when its leader is due: nobody starves.
    """
    leader = waiting.popleft()
    place = min(place, leader.ceiling)
    items, longest, shortest = [leader], leader.length, leader.length
    seconds = times.call(place) + times.text(place, leader.length)
    end = start + seconds * times.typical(1)
    due = leader.due(limits.reserve)
    due = due if end <= due else leader.deadline
    passed: list[Item] = []
    for _ in range(min(WINDOW, len(waiting))):
        if end - start >= limits.seconds or longest * (len(items) + 1) > limits.tokens:
            break
        item = waiting.popleft()
        most, least = max(longest, item.length), min(shortest, item.length)
        more = seconds + times.text(place, item.length)
        until = start + more * times.typical(len(items) + 1)
        joins = (
            min(place, item.ceiling) == place
            and (most <= LIKE * least or most - least <= FEW)
            and most * (len(items) + 1) <= limits.tokens
            and until - start <= limits.seconds
            and until <= due
        )
        if not joins:
            passed.append(item)
            continue
        items.append(item)
        longest, shortest, seconds, end = most, least, more, until
    waiting.extendleft(reversed(passed))
    return Batch(items, place, start, end, start + seconds * times.factor(len(items)))


def lateness(
    waiting: Sequence[Item],
    place: int,
    free: Sequence[float],
    times: Times,
    limits: BatchLimits,
    cautious: bool = True,
) -> tuple[list[Item], float, float]:
    """Who would be late at a speedup, and when the last batch would start and end; see :func:`planned`."""
    late: list[Item] = []
    start = end = min(free)
    for batch in planned(waiting, place, free, times, limits, late, cautious):
        start, end = max(start, batch.start), max(end, batch.usual)
    return late, start, end


def needed(waiting: Sequence[Item], place: int, free: Sequence[float], times: Times, limits: BatchLimits) -> int:
    """Place of the smallest speedup at which no more texts are late than at the largest.

    Parameters
    ----------
    place : where the dial stands; what is smaller is tried by one step only, since it goes down no faster
    """
    high = len(times.speedups) - 1
    late_here = len(lateness(waiting, place, free, times, limits)[0])
    unavoidable = len(lateness(waiting, high, free, times, limits)[0]) if late_here else 0

    def enough(place: int) -> bool:
        return len(lateness(waiting, place, free, times, limits)[0]) <= unavoidable

    if late_here <= unavoidable:
        return place - 1 if place and enough(place - 1) else place
    low = place + 1
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high
