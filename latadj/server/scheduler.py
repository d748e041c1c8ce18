"""Who runs next, with whom and how fast, and who is turned away. Pure: times are given to it."""

import math
from bisect import insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from latadj.server.batch_plan import first_batch, lateness, needed
from latadj.server.corrected_times import Times
from latadj.server.offered_load import OfferedLoad
from latadj.server.speed_policy import SpeedPolicy
from latadj.server.work_items import EXPIRED, HOPELESS, HUNG_UP, Batch, BatchLimits, Dropped, Item

# Where nothing ran for so many times what a batch may take, one request is let in whatever is predicted: nobody is
# harmed, and what it takes corrects the prediction.
PROBE = 4
# What waits is let wait at a speedup that does not keep up, until running it takes this share of a deadline.
PRESSED = 0.1
TOO_LATE = "no speedup that is allowed answers in time"


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let in.

    retry_after : seconds after which what waits now is done
    """

    reason: str
    retry_after: float


class Scheduler:
    """The queue of a server.

    The dial is turned for each batch to the smallest speedup at which every text that waits is predicted to be answered
    in time, and that keeps up with as many as come; never beyond a text's ceiling. A request that cannot be answered in
    time at the largest one, or that would make others late who were let in before, is turned away at once.

    Who is let in is judged by the time that batches take as a rule: a text that is late after all costs no more than
    one that was turned away. The speedup is judged by what most batches stay within.

    Parameters
    ----------
    times : how long batches take
    replicas : how many batches run at a time
    most : texts that may wait
    """

    def __init__(self, times: Times, limits: BatchLimits, replicas: int = 1, most: int = 10_000) -> None:
        self.times, self.limits, self.most = times, limits, most
        self.policy = SpeedPolicy()
        self.offered = OfferedLoad(limits.seconds, limits.deadline_s)
        self._waiting: list[Item] = []
        self._running: list[Batch | None] = [None] * replicas
        self._gone: set[int] = set()
        self._last, self._room = -math.inf, 0.0
        self._forget_plan()

    def _forget_plan(self) -> None:
        """What was planned holds until a batch starts or ends: when all that waits would be done, and who is late."""
        self._end, self._known, self._exact = -math.inf, False, False
        self._refused: tuple[float, float] | None = None

    @property
    def waiting(self) -> int:
        """Texts in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Texts that run."""
        return sum(len(batch.items) for batch in self._running if batch is not None)

    def _free(self, now: float) -> list[float]:
        """When each replica is free, as far as it is known."""
        return [
            now if batch is None else max(batch.usual, now)
            for number, batch in enumerate(self._running)
            if number not in self._gone
        ]

    def _latest(self, items: Sequence[Item]) -> float:
        """When a batch of these texts alone is to end.

        Behind others, it has to have time for as many texts as keep up with those that come: else all who wait are let
        in so late that each has to run at once, alone, and few are answered.
        """
        return min(item.due(self.limits.reserve) for item in items) - (self._room if self._waiting else 0.0)

    def admit(self, items: Sequence[Item], now: float) -> Refusal | None:
        """Let the texts of a request in, all or none.

        Returns
        -------
        None if they are in
        """
        self.times.settle(now)
        for item in items:
            self.offered.came(item, now)
        probe = not self._waiting and not self.running and now - self._last > PROBE * self.limits.seconds
        if len(self._waiting) + len(items) > self.most:
            return Refusal(f"{self.most} texts wait already", max(self._end - now, 0.0))
        if not probe and not self._fits_behind(items, now):
            refusal = self._refusal(items, now)
            if refusal is not None:
                return refusal
        for item in items:
            item.ticket.probe = probe
            insort(self._waiting, item, key=_deadline)
        return None

    def _fits_behind(self, items: Sequence[Item], now: float) -> bool:
        """Whether texts are in time even if they run one by one behind all that wait; no plan has to be made then."""
        if self._waiting and min(item.deadline for item in items) < self._waiting[-1].deadline:
            return False
        end = max(self._end, *self._free(now)) if self._known else math.inf
        end += sum(self._alone(item) for item in items)
        if end > self._latest(items):
            return False
        self._end, self._exact = end, False
        return True

    def _refusal(self, items: Sequence[Item], now: float) -> Refusal | None:
        """Why texts are not let in, by a plan of all batches; None if they are."""
        due, seconds = min(item.deadline for item in items), sum(self._alone(item) for item in items)
        like_one = self._refused is not None and due <= self._refused[0] and seconds >= self._refused[1]
        if like_one or self._ends_too_late(items, now):
            self._refused = self._refused if like_one else (due, seconds)
            return Refusal(TOO_LATE, max(self._end - now, 0.0))
        fastest, free = len(self.times.speedups) - 1, self._free(now)
        together = list(self._waiting)
        for item in items:
            insort(together, item, key=_deadline)
        late, start, end = lateness(together, fastest, free, self.times, self.limits, cautious=False)
        crowded = together[-1] in items and start + seconds > self._latest(items)
        if late or crowded:
            before, _, self._end = lateness(self._waiting, fastest, free, self.times, self.limits, cautious=False)
            self._known = self._exact = True
            already = set(map(id, before))
            if crowded or any(id(item) not in already for item in late):
                self._refused = (due, seconds)
                return Refusal(TOO_LATE, end - now)
        self._end, self._known, self._exact = end, True, True
        return None

    def _ends_too_late(self, items: Sequence[Item], now: float) -> bool:
        """Whether texts that come last are late even if they only make the last batch larger; needs no plan."""
        if (
            not self._exact
            or not self._waiting
            or len(self._running) > 1
            or items[0].deadline < self._waiting[-1].deadline
        ):
            return False
        fastest = len(self.times.speedups) - 1
        more = sum(self.times.text(min(fastest, item.ceiling), item.length) for item in items)
        return max(self._end, now) + more * self.times.typical(1) > items[0].due(self.limits.reserve)

    def _alone(self, item: Item) -> float:
        """Seconds of a text alone, as fast as it may run."""
        place = min(len(self.times.speedups) - 1, item.ceiling)
        return (self.times.call(place) + self.times.text(place, item.length)) * self.times.typical(1)

    def next_batch(self, now: float, replica: int = 0) -> tuple[Batch | None, list[Dropped]]:
        """What a replica is to run now, and who was dropped on the way; it runs until :meth:`ended` is told."""
        self.times.settle(now)
        self._forget_plan()
        dropped = [*self._drop_closed(now), *self._drop_late(now)]
        if not self._waiting:
            return None, dropped
        idle = self.running == 0 and now - self._last > self.limits.seconds
        free = self._free(now)
        stands = 0 if idle else self.policy.place
        enough = needed(self._waiting, stands, free, self.times, self.limits)
        keeping_up, self._room = self.offered.needed(now, self.times, len(free))
        place = self.policy.turn(max(enough, keeping_up) if self._pressed() else enough, idle)
        left = deque(self._waiting)
        batch = first_batch(left, place, now, self.times, self.limits)
        if batch.end > batch.items[0].deadline:
            left = deque(self._waiting)
            batch = first_batch(left, len(self.times.speedups) - 1, now, self.times, self.limits)
        self._waiting = list(left)
        self._running[replica] = batch
        return batch, dropped

    def ended(self, batch: Batch, start: float, now: float) -> None:
        """Learn that a batch is done.

        Parameters
        ----------
        start, now : when it was started and when it ended, by the clock
        """
        self._running = [None if one is batch else one for one in self._running]
        self._last = now
        self._forget_plan()
        self.times.observe(batch.place, batch.lengths, max(now - start, 1e-9), now)

    def _pressed(self) -> bool:
        """Whether what waits takes a share of a deadline that counts; else there is time to see how it goes on."""
        texts = sum(self.times.text(0, item.length) for item in self._waiting)
        return texts * self.times.typical(1) >= PRESSED * self.limits.deadline_s * len(self._running)

    def lost(self, replica: int) -> None:
        """A replica runs nothing until :meth:`back`; what it ran is lost."""
        self._running[replica] = None
        self._gone.add(replica)
        self._forget_plan()

    def back(self, replica: int) -> None:
        """A replica runs batches again."""
        self._gone.discard(replica)
        self._forget_plan()

    def clear(self) -> list[Item]:
        """Empty the queue; gives what waited."""
        waiting, self._waiting = self._waiting, []
        self._forget_plan()
        return waiting

    def _drop_closed(self, now: float) -> list[Dropped]:
        """Drop the texts of those who hung up."""
        if all(item.ticket.open for item in self._waiting):
            return []
        dropped = [Dropped(item, HUNG_UP) for item in self._waiting if not item.ticket.open]
        for one in dropped:
            self.offered.left(one.item, now)
        self._waiting = [item for item in self._waiting if item.ticket.open]
        return dropped

    def _drop_late(self, now: float) -> list[Dropped]:
        """Drop what cannot be answered in time even if it is run next, and all else of the same requests."""
        dropped = []
        for item in self._waiting:
            place = min(len(self.times.speedups) - 1, item.ceiling)
            seconds = self.times.call(place) + self.times.text(place, item.length)
            if item.deadline <= now:
                dropped.append(Dropped(item, EXPIRED))
            elif now + seconds * self.times.typical(1) > item.deadline and not item.ticket.probe:
                dropped.append(Dropped(item, HOPELESS))
        if dropped:
            for one in dropped:
                one.item.ticket.open = False
            self._waiting = [item for item in self._waiting if item.ticket.open]
        return dropped


def _deadline(item: Item) -> float:
    return item.deadline
