"""How often a deadline was met, for batches and for texts."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class DeadlineCounts:
    """How many batches and texts a deadline was met for.

    met : by the clock
    beyond : where not even the largest speedup that is allowed was predicted to meet it; those ran at that
    late : predicted to meet it, but by the clock did not
    predicted_s, measured_s : of all batches, summed
    speedups : texts that ran at each speedup
    """

    batches: int = 0
    texts: int = 0
    met_batches: int = 0
    met_texts: int = 0
    beyond_batches: int = 0
    beyond_texts: int = 0
    late_batches: int = 0
    late_texts: int = 0
    predicted_s: float = 0.0
    measured_s: float = 0.0
    speedups: dict[str, int] = field(default_factory=dict)

    def count(
        self, texts: int, speedup: float, predicted: float, measured: float, deadline: float, possible: bool
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        possible : whether it was predicted to meet the deadline
        """
        self._add("", texts)
        if measured <= deadline:
            self._add("met_", texts)
        if not possible:
            self._add("beyond_", texts)
        elif measured > deadline:
            self._add("late_", texts)
        self.predicted_s += predicted
        self.measured_s += measured
        self.speedups = dict(Counter(self.speedups) + Counter({f"{speedup:.2f}": texts}))

    def _add(self, which: str, texts: int) -> None:
        setattr(self, f"{which}batches", getattr(self, f"{which}batches") + 1)
        setattr(self, f"{which}texts", getattr(self, f"{which}texts") + texts)

    @property
    def met_share(self) -> float:
        """Share of the texts whose batch met the deadline, 1 before any ran."""
        return self.met_texts / self.texts if self.texts else 1.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
