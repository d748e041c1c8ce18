"""How much of the metric is lost along a dial, on validation text, against the better of two full models."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from latadj.calibration.steps import Show
from latadj.commands.common.served_models import fine_tuned_model
from latadj.commands.common.session import Session
from latadj.config import CalibrateConfig
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.drops import MeasuredDrop
from latadj.elimination.profiles import Profile
from latadj.tasks.metrics.intervals import score
from latadj.tasks.outputs.predict import predict

log = logging.getLogger("latadj")
# Validation examples that are read by default: more would narrow the interval little, and take long.
MOST_EXAMPLES = 2000
# Between two measured profiles FLOPs grow by no more than this where it can be, since drops are interpolated by them;
# in a model of little time in its layers, one step of speedup may cut them several times.
WIDEST, MOST_PROFILES = 1.5, 12


@dataclass
class ValidationDrops:
    """Measures drops in fp32, as the weights are, on validation examples that are the same all along a dial.

    encoded : the rows of ``examples``
    plain : predictions of the plain model beside the checkpoint; None if there is none
    """

    session: Session
    examples: Dataset
    encoded: Dataset
    plain: Any = None

    @classmethod
    def of(cls, session: Session) -> "ValidationDrops | None":
        """Of a session's validation split; None where drops are not wanted or not possible, with a line that says why.

        Raises
        ------
        ValueError
            if the plain model beside the checkpoint cannot be loaded.
        """
        config = session.config
        assert isinstance(config, CalibrateConfig)
        validation, most = session.splits.validation, config.calibration.validation_examples
        if most == 0:
            return None
        if session.generates or len(validation) < 2:
            reason = "fewer than two validation examples"
            if session.generates:
                reason = "a language model's prompts take long, and running text has perplexity, not points"
            log.info("drops along the dial are not measured (%s): max_drop= is not possible", reason)
            return None
        count = min(most or MOST_EXAMPLES, len(validation))
        if count < len(validation):
            validation = validation.shuffle(seed=config.seed).select(range(count))
        full = fine_tuned_model(session)
        encoded = session.encoded(validation)
        drops = cls(session, session.with_references(validation, full or session.model), encoded)
        drops.plain = None if full is None else drops._predictions(full)
        return drops

    def _predictions(self, model: PreTrainedModel) -> Any:
        """A model's answers at its present profile, with a threshold, if the task has one, that is best for these."""
        session, task_type = self.session, self.session.task_type
        answers = predict(model, session.tokenizer, self.encoded, outputs=session.outputs)
        if task_type.tunes_threshold:
            task_type.tune_threshold(answers, self.encoded, self.examples)
        return task_type.predictions(answers, self.encoded, self.examples)

    def measured(self, dial: Dial, speedups: Sequence[float], show: Show) -> tuple[MeasuredDrop, ...]:
        """The drops of a dial's profiles, see :func:`profiles_along`.

        Parameters
        ----------
        dial : of the session's model, in time or in FLOPs
        show : shows the progress

        Returns
        -------
        nothing where the metric has no value, as a correlation of equal predictions
        """
        session, metric, model = self.session, self.session.task_type.task.metric, self.session.model
        profiles = profiles_along(dial, speedups)
        answers = {}
        with show("drops", len(profiles)) as advance:
            for profile in profiles:
                with at_profile(model, profile, score=dial.score, window=dial.window):
                    answers[profile] = self._predictions(model)
                advance(f"FLOPs cut {dial.speedup_of(profile):.2f}x")
        best = answers[profiles[0]]
        if self.plain is not None and self._metric(self.plain) > self._metric(best):
            best = self.plain
        labels = session.task_type.references(self.examples)
        drops = []
        for profile, predictions in answers.items():
            scored = score(metric, predictions, best, labels, session.config.seed)
            drops.append(MeasuredDrop(profile, scored.drop, *scored.drop_ci))
        if not all(math.isfinite(value) for drop in drops for value in (drop.drop, drop.low, drop.high)):
            log.warning("%s of these validation examples has no value: drops along the dial are left out", metric)
            return ()
        return tuple(drops)

    def _metric(self, predictions: Any) -> float:
        task_type = self.session.task_type
        return task_type.scores(predictions, self.examples)[task_type.task.metric]


def profiles_along(dial: Dial, speedups: Sequence[float]) -> list[Profile]:
    """The profiles of a dial at some speedups as far as it goes, at 1x and at its end, closer where FLOPs fall fast."""
    reach = dial.reach()
    found = {speedup: dial.profile(speedup) for speedup in {1.0, *(one for one in speedups if one < reach), reach}}
    while len(found) < MOST_PROFILES:
        steps = [
            (*pair, dial.speedup_of(found[pair[1]]) / dial.speedup_of(found[pair[0]]))
            for pair in pairwise(sorted(found))
        ]
        low, high, widest = max(steps, key=itemgetter(2), default=(1.0, 1.0, 1.0))
        if widest <= WIDEST or high <= low * (1 + 1e-3):
            break
        middle = math.sqrt(low * high)
        found[middle] = dial.profile(middle)
    return list(dict.fromkeys(found[speedup] for speedup in sorted(found)))
