"""A server whose time is known: the scheduler of `latadj serve`, with a counted clock and without a model."""

import heapq
from dataclasses import dataclass, field

import numpy as np

from latadj.server.corrected_times import CorrectedTimes
from latadj.server.scheduler import Scheduler
from latadj.server.time_fit import BatchTimes
from latadj.server.work_items import Batch, BatchLimits, Item, Ticket

SPEEDUPS = np.geomspace(1.0, 5.0, 33).tolist()
# 8 texts: 1 ms for the call, and at 1x a millisecond for each ten tokens of each text.
CALL, EACH, BATCH = 1e-3, 1e-4, 8


def table(longest: int = 512) -> np.ndarray:
    """(speedups, longest) seconds of a batch of eight."""
    lengths = np.arange(longest)
    return np.array([CALL + BATCH * EACH * lengths / speedup for speedup in SPEEDUPS])


def seconds(lengths: list[int], speedup: float) -> float:
    """What a batch takes."""
    return CALL + EACH * sum(length - 1 for length in lengths) / speedup


CAPACITY = 1 / seconds([20], 1.0)
"""Requests of one text of 20 tokens that the full model answers in a second, one at a time."""


def scheduler(deadline_s: float = 0.05, fixed: float | None = None, **options: object) -> Scheduler:
    """One that serves the model above."""
    speedups = SPEEDUPS if fixed is None else [fixed]
    lengths = np.arange(512)
    costs = np.array([CALL + BATCH * EACH * lengths / speedup for speedup in speedups])
    return Scheduler(
        CorrectedTimes(speedups, BatchTimes.predicted(costs, BATCH)), BatchLimits(deadline_s=deadline_s), **options
    )


@dataclass
class Outcome:
    """What became of the requests; each is its number in the order in which they came.

    answered : number -> seconds that it took
    late : numbers answered after their deadline
    shed : number -> why
    batches : start, texts and place of each
    """

    answered: dict[int, float] = field(default_factory=dict)
    late: list[int] = field(default_factory=list)
    shed: dict[int, str] = field(default_factory=dict)
    batches: list[tuple[float, list[int], int]] = field(default_factory=list)

    @property
    def in_time(self) -> float:
        """Share of all requests."""
        return (len(self.answered) - len(self.late)) / (len(self.answered) + len(self.shed))

    @property
    def speedup(self) -> float:
        """Mean over the texts that ran."""
        texts = [len(lengths) for _, lengths, _ in self.batches]
        return float(np.average([SPEEDUPS[place] for _, _, place in self.batches], weights=texts))


def poisson(rate: float, seconds: float, seed: int = 0, start: float = 0.0) -> list[float]:
    """Times at which requests come."""
    rng = np.random.default_rng(seed)
    return (start + np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))).tolist()


def simulate(
    server: Scheduler,
    arrivals: list[float],
    *,
    length: int = 20,
    deadline_s: float = 0.05,
    slowdown=lambda now: 1.0,
    noise: float = 0.0,
    ceiling=lambda number: len(SPEEDUPS) - 1,
    deadline=None,
    hang_up=lambda number: False,
) -> Outcome:
    """Requests of one text each, on one replica.

    Parameters
    ----------
    slowdown : time -> how many times as long as usual a batch takes
    noise : relative deviation of a batch's time
    """
    outcome, rng = Outcome(), np.random.default_rng(1)
    running: Batch | None = None
    started = 0.0
    events: list[tuple[float, int, object]] = [(time, number, "comes") for number, time in enumerate(arrivals)]
    heapq.heapify(events)
    while events:
        now, number, what = heapq.heappop(events)
        if what == "comes":
            due = now + (deadline(number) if deadline else deadline_s)
            item = Item(None, length, now, due, ceiling(number), Ticket(), number)
            refusal = server.admit([item], now)
            if refusal is not None:
                outcome.shed[number] = "refused"
            elif hang_up(number):
                item.ticket.open = False
        else:
            server.ended(what, started, now)
            for item in what.items:
                outcome.answered[item.number] = now - item.arrived
                if now > item.deadline + 1e-9:
                    outcome.late.append(item.number)
            running = None
        if running is None:
            running, dropped = server.next_batch(now)
            for one in dropped:
                outcome.shed[one.item.number] = one.reason
            if running is not None:
                started = now
                outcome.batches.append((now, running.lengths, running.place))
                speedup = server.times.speedups[running.place]
                takes = seconds(running.lengths, speedup) * slowdown(now) * float(np.exp(noise * rng.normal()))
                heapq.heappush(events, (now + takes, len(arrivals) + len(outcome.batches), running))
    return outcome
