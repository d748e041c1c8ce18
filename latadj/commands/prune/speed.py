"""The clock of `latadj prune prune.objective=speed`: what units take on this device, and how fast a pruned model is."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from latadj.benchmark.kernel_selection import fastest_kernel
from latadj.benchmark.timer import Interval, speedup, time_interleaved
from latadj.commands.common.served_models import batches_to_time
from latadj.commands.prune.pruning_model import PruningModel
from latadj.elimination.attach import as_plain, attach
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning.budgets import LatencyFeatures, TimeModel
from latadj.pruning.units import PruningUnit
from latadj.tasks.encoding.batches import Batch, rows_of
from latadj.utils.console import progress

BATCHES, ROUNDS, WARMUP = 6, 7, 3


class Clock:
    """Times a model under pruning against the full one, on texts that it is evaluated on.

    Parameters
    ----------
    model : still whole; ``full`` of this clock is a copy of it
    """

    def __init__(self, model: PruningModel) -> None:
        session, config = model.session, model.config
        self.model, self.session, self.seed = model, session, config.seed
        self.batches = batches_to_time(session, rows_of(model.evaluator.encoded), BATCHES)["bucketed"]
        self.kernel: KernelSpec = fastest_kernel(session.model, config.device.precision, session.device)
        self.full = self.served()

    def served(self) -> PreTrainedModel:
        """A copy of the model as it stands, as it would be served."""
        return attach(lower(as_plain(copy.deepcopy(self.session.model)), self.kernel))

    def speedup(self) -> Interval:
        """Measured speedup of the model as it stands over the full one, which the same kernels serve."""
        variants: dict[str, list[Any]] = {
            name: [lambda batch=batch, model=model: self._pass(model, batch) for batch in self.batches]
            for name, model in (("full", self.full), ("pruned", self.served()))
        }
        seconds = time_interleaved(variants, rounds=ROUNDS, warmup=WARMUP, device=self.session.device, seed=self.seed)
        return speedup(seconds["full"], seconds["pruned"], self.seed)

    def fit(self) -> TimeModel:
        """The time model of pruned models, in passes of the full one.

        Each is interleaved with the full one, so that only two are held at a time and the machine's noise cancels.
        """
        measured, variants = [], self._variants(self.model.units)
        with progress("time of parts", len(variants)) as steps:
            for removed in variants:
                with self.model.without(removed):
                    features = LatencyFeatures.of(self.session.model, self.model.evaluator.lengths)
                    measured.append((features, 1 / self.speedup().median))
                steps.advance()
        return TimeModel.fit(measured)

    def _pass(self, model: PreTrainedModel, batch: Batch) -> object:
        with torch.inference_mode():
            return self.session.outputs(model, batch).cpu()

    @staticmethod
    def _variants(units: Sequence[PruningUnit]) -> list[list[PruningUnit]]:
        """The units that are removed from each model that the time model is fitted to."""
        layers = sorted({unit.layer for unit in units})

        def share_of(kind: str, share: float) -> list[PruningUnit]:
            by_layer = [[unit for unit in units if (unit.layer, unit.kind) == (layer, kind)] for layer in layers]
            return [unit for own in by_layer for unit in own[: int(share * len(own))]]

        def every_second(*kinds: str) -> list[PruningUnit]:
            return [unit for unit in units if unit.kind in kinds and unit.layer in layers[::2]]

        halves = [share_of(kind, share) for share in (0.5, 0.75) for kind in ("head", "neurons")]
        blocks = [every_second("attention"), every_second("feed_forward"), every_second("attention", "feed_forward")]
        # Without all units, the time that no unit takes: a target beyond that is refused before the search.
        return [[], *halves, *blocks, [*halves[0], *halves[1]], list(units)]
