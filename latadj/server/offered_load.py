"""How much is asked of a server, and which speedup keeps up with it. Pure: times are given to it."""

import math
from collections import deque

from latadj.server.corrected_times import Times
from latadj.server.work_items import Item

# Texts of the last so many seconds say how many come.
WINDOW_S = 0.75
# After nobody came for so long, those of at least so many seconds do.
SOONEST_S = 0.3
# Fewer than these say nothing.
FEWEST = 16
# Batches that are considered.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# A server that is busy all the time answers nobody in time who comes while others come too. So much of it stays free
# for each deadline that a batch takes: found by simulation, see tests/server/test_scheduler.py.
FREE = 1.15
# Where nothing keeps up, the largest speedup is not worth what it loses if a smaller one answers nearly as many.
WORTH = 0.95


class OfferedLoad:
    """The texts that came lately, whether they were let in or not.

    Parameters
    ----------
    batch_s : seconds that a batch may take
    deadline_s : seconds in which a text is to be answered as a rule; one that may take longer counts for less
    """

    def __init__(self, batch_s: float, deadline_s: float) -> None:
        self._batch_s, self._deadline_s = batch_s, deadline_s
        self._came: deque[tuple[float, float, int]] = deque()
        self._texts, self._tokens, self._since = 0.0, 0.0, 0.0

    def came(self, item: Item, now: float) -> None:
        """A text came."""
        self._count(item, now, 1)

    def left(self, item: Item, now: float) -> None:
        """One that came is not waited for any more."""
        self._count(item, now, -1)

    def _count(self, item: Item, now: float, sign: int) -> None:
        weight = sign * min(1.0, self._deadline_s / max(item.deadline - item.arrived, 1e-9))
        if not self._came:
            self._since = now
        self._came.append((now, weight, item.length))
        self._texts += weight
        self._tokens += weight * item.length

    def needed(self, now: float, times: Times, replicas: int) -> tuple[int, float]:
        """What keeps up with as many texts as came lately.

        Returns
        -------
        place of the smallest speedup that does, the largest if none does; and how many seconds longer than for one text
        a batch then takes at the largest
        """
        while self._came and self._came[0][0] < now - WINDOW_S:
            _, weight, length = self._came.popleft()
            self._texts -= weight
            self._tokens -= weight * length
        if self._texts < FEWEST:
            return 0, 0.0
        length = max(round(self._tokens / self._texts), 1)
        rate = self._texts / min(max(now - self._since, SOONEST_S), WINDOW_S) / max(replicas, 1)
        low, high = 0, len(times.speedups) - 1
        most, _ = self._capacity(high, length, times, FREE, math.inf)
        _, room = self._capacity(high, length, times, 0.0, rate)
        wanted = min(rate, WORTH * most)
        while low < high:
            middle = (low + high) // 2
            if self._capacity(middle, length, times, FREE, wanted)[0] >= wanted:
                high = middle
            else:
                low = middle + 1
        return low, room

    def _capacity(self, place: int, length: int, times: Times, free: float, wanted: float) -> tuple[float, float]:
        """Texts a second of the smallest batches that give as many as are wanted, or of those that give most.

        Returns
        -------
        texts a second, and how many seconds longer than one text such a batch takes
        """
        most = alone = longer = 0.0
        for size in SIZES:
            seconds = (times.call(place) + size * times.text(place, length)) * times.typical(size)
            if size > 1 and seconds > self._batch_s:
                break
            alone = alone or seconds
            capacity = size / seconds * (1 - free * seconds / self._deadline_s)
            if capacity > most:
                most, longer = capacity, seconds - alone
            if most >= wanted:
                break
        return most, longer
