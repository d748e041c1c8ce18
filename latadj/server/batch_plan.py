"""Which batches waiting texts would form at a speedup, and who would be late. Pure: it reads no clock."""

import heapq
from collections.abc import Iterator, Sequence

from latadj.server.corrected_times import Times
from latadj.server.work_items import Batch, BatchLimits, Item

# Texts of a batch differ in length by no more than this factor, or by so few tokens that it does not matter.
LIKE, FEW = 1.5, 16
# Behind the first text, so many are looked through for those of like length.
WINDOW = 96


def planned(
    waiting: Sequence[Item], place: int, free: Sequence[float], times: Times, limits: BatchLimits, late: list[Item]
) -> Iterator[Batch]:
    """The batches of waiting texts, in the order in which they would start.

    Parameters
    ----------
    waiting : by rising deadline
    place : of the speedup; a text's own ceiling holds
    free : when each replica is free
    late : gets the leaders of batches that end after they are due; one that is past its deadline takes no time
    """
    replicas, left = list(free), list(waiting)
    heapq.heapify(replicas)
    while left:
        leader = left[0]
        batch, left = first_batch(left, place, replicas[0], times, limits)
        if batch.end > leader.due(limits.reserve):
            late.append(leader)
        if batch.end <= leader.deadline:
            heapq.heapreplace(replicas, batch.end)
            yield batch


def first_batch(
    waiting: Sequence[Item], place: int, start: float, times: Times, limits: BatchLimits
) -> tuple[Batch, list[Item]]:
    """The batch that the first text leads, and who is left.

    The text whose answer is due first leads, and others of like length join it while the batch stays within the limits
    and ends when its leader is due: nobody starves.
    """
    leader = waiting[0]
    place = min(place, leader.ceiling)
    items, longest, shortest = [leader], leader.length, leader.length
    seconds = times.call(place) + times.text(place, leader.length)
    end = start + seconds * times.factor(1)
    due = leader.due(limits.reserve)
    due = due if end <= due else leader.deadline
    passed: list[Item] = []
    looked = 1
    for item in waiting[1 : 1 + WINDOW]:
        if end - start >= limits.seconds or longest * (len(items) + 1) > limits.tokens:
            break
        looked += 1
        most, least = max(longest, item.length), min(shortest, item.length)
        more = seconds + times.text(place, item.length)
        until = start + more * times.factor(len(items) + 1)
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
    return Batch(items, place, start, end), [*passed, *waiting[looked:]]


def lateness(
    waiting: Sequence[Item], place: int, free: Sequence[float], times: Times, limits: BatchLimits
) -> tuple[list[Item], float]:
    """Who would be late at a speedup, and when the last batch would end."""
    late: list[Item] = []
    end = min(free)
    for batch in planned(waiting, place, free, times, limits, late):
        end = max(end, batch.end)
    return late, end


def needed(waiting: Sequence[Item], free: Sequence[float], times: Times, limits: BatchLimits) -> int:
    """Place of the smallest speedup at which no more texts are late than at the largest."""
    low, high = 0, len(times.speedups) - 1
    if not lateness(waiting, low, free, times, limits)[0]:
        return low
    unavoidable = len(lateness(waiting, high, free, times, limits)[0])
    while low < high:
        middle = (low + high) // 2
        if len(lateness(waiting, middle, free, times, limits)[0]) <= unavoidable:
            high = middle
        else:
            low = middle + 1
    return high
