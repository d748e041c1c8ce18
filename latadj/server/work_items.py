"""What waits in the server: texts, the requests that they belong to, and the batches that they run in."""

from dataclasses import dataclass, field
from typing import Any

# A batch takes no more than this share of the deadline, so that who comes meanwhile has time for a batch of its own.
BATCH_SHARE = 0.5
# Why a text left the queue without an answer.
EXPIRED, HOPELESS, HUNG_UP = "expired", "hopeless", "hung_up"


@dataclass(eq=False)
class Ticket:
    """A request: its texts are answered together, or not at all.

    open : whether somebody waits for it; what belongs to a closed one is dropped before it runs
    probe : it runs whatever is predicted, to learn how long it takes
    done : what the server hands the answers to
    """

    open: bool = True
    probe: bool = False
    done: Any = None


@dataclass(eq=False)
class Item:
    """One text that waits for its answer; times are seconds of the server's clock.

    row : what the model reads
    length : tokens of it
    arrived, deadline : when its request came, and when its answer is due
    ceiling : place of the largest speedup that it may run at
    number : its place in its request
    """

    row: Any
    length: int
    arrived: float
    deadline: float
    ceiling: int
    ticket: Ticket = field(default_factory=Ticket)
    number: int = 0

    def due(self, reserve: float) -> float:
        """When its batch is to end, so that a share of its deadline is left for what no prediction sees."""
        return self.deadline - reserve * (self.deadline - self.arrived)


@dataclass(frozen=True)
class Dropped:
    """A text that left the queue without an answer, and why."""

    item: Item
    reason: str


@dataclass(eq=False)
class Batch:
    """Texts that run together.

    place : of its speedup
    start : second of the clock
    usual, end : when it ends as a rule, and when most such batches have ended
    """

    items: list[Item]
    place: int
    start: float
    usual: float
    end: float

    @property
    def lengths(self) -> list[int]:
        return [item.length for item in self.items]

    @property
    def tokens(self) -> int:
        return sum(self.lengths)


@dataclass(frozen=True)
class BatchLimits:
    """What a batch may be.

    tokens : of a batch once it is padded to its longest text
    deadline_s : seconds in which a text is to be answered, where it does not say otherwise
    reserve : share of a deadline that is kept for what no prediction sees
    """

    tokens: int = 8192
    deadline_s: float = 0.04
    reserve: float = 0.1

    @property
    def seconds(self) -> float:
        """Seconds that a batch of several texts may take, so that who comes meanwhile does not wait for long."""
        return BATCH_SHARE * self.deadline_s
