"""The clock of `latadj prune prune.objective=speed`: what parts take on this device, and how fast a pruned model is."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from latadj.benchmark.kernel_selection import fastest_kernel
from latadj.benchmark.timer import Interval, speedup, time_interleaved
from latadj.commands.common.timing import batches_to_time
from latadj.commands.prune.subject import PruneSubject
from latadj.elimination.attach import as_plain, attach
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning.budgets import Structured, TimeModel
from latadj.pruning.units import PruningUnit
from latadj.tasks.encoding.batches import Batch, rows_of
from latadj.utils.console import progress

BATCHES, ROUNDS, WARMUP = 6, 7, 3


class Clock:
    """Times a subject's model against the full one, on texts that it is judged on.

    Parameters
    ----------
    subject : its model is still whole; ``full`` of this clock is a copy of it
    """

    def __init__(self, subject: PruneSubject) -> None:
        session, config = subject.session, subject.config
        self.subject, self.session, self.seed = subject, session, config.seed
        self.batches = batches_to_time(session, rows_of(subject.judging.encoded), BATCHES)["bucketed"]
        self.route: KernelSpec = fastest_kernel(session.model, config.device.precision, session.device)
        self.full = self.served()

    def served(self) -> PreTrainedModel:
        """A copy of the model as it stands, as it would be served."""
        twin = lower(as_plain(copy.deepcopy(self.session.model)), self.route)
        return attach(twin)

    def speedup(self) -> Interval:
        """Measured speedup of the model as it stands over the full one, which the same kernels serve."""
        ours = self.served()
        contestants: dict[str, list[Any]] = {
            name: [lambda batch=batch, model=model: self._pass(model, batch) for batch in self.batches]
            for name, model in (("full", self.full), ("pruned", ours))
        }
        seconds = time_interleaved(
            contestants, rounds=ROUNDS, warmup=WARMUP, device=self.session.device, seed=self.seed
        )
        return speedup(seconds["full"], seconds["pruned"], self.seed)

    def fit(self) -> TimeModel:
        """The time model of pruned models, in passes of the full one.

        Each model takes turns with the full one, so that only two are held at a time and a machine's moods cancel.
        """
        subject, measured = self.subject, []
        variants = self._variants(subject.parts)
        with progress("time of parts", len(variants)) as steps:
            for parts in variants:
                with subject.without(parts):
                    structured = Structured.of(self.session.model, subject.judging.lengths)
                    measured.append((structured, 1 / self.speedup().median))
                steps.advance()
        return TimeModel.fit(measured)

    def _pass(self, model: PreTrainedModel, batch: Batch) -> object:
        with torch.inference_mode():
            return self.session.outputs(model, batch).cpu()

    @staticmethod
    def _variants(parts: Sequence[PruningUnit]) -> list[list[PruningUnit]]:
        """What is left out in each model that the time model is fitted to."""
        layers = sorted({part.layer for part in parts})

        def some(kind: str, share: float) -> list[PruningUnit]:
            found = []
            for layer in layers:
                own = [part for part in parts if part.layer == layer and part.kind == kind]
                found += own[: int(share * len(own))]
            return found

        def every_second(*kinds: str) -> list[PruningUnit]:
            return [part for part in parts if part.kind in kinds and part.layer in layers[::2]]

        halves = [some("head", 0.5), some("neurons", 0.5), some("head", 0.75), some("neurons", 0.75)]
        blocks = [every_second("attention"), every_second("feed_forward"), every_second("attention", "feed_forward")]
        # Without anything, what no part takes: a budget beyond that is refused before the search.
        return [[], *halves, *blocks, [*halves[0], *halves[1]], list(parts)]
