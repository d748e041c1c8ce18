"""Training objectives: how batches are made, their loss, the metric of validation, and profiles to train with."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import fmean, geometric_mean
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from latadj.config import AdjustConfig
from latadj.devices import ranks
from latadj.elimination.cost import whole_level
from latadj.elimination.dial import Dial
from latadj.elimination.level_dials import at_level, level_gain, levels_of
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.tasks.encoding.batches import Batch

Loss = Callable[[Any, Batch], Tensor]
MIN_SPEEDUP = 1.1
# A speedup in time takes about as many times its FLOPs where layers are narrow: calls and norms are not narrower.
FURTHER = 2.0


@dataclass(frozen=True)
class TrainingObjective:
    """A task, as a Trainer needs it.

    metric : name of what ``score`` gives
    score : the metric of a model on the validation split, at its current speedup
    collate : rows of the training set -> batch
    loss : (model, batch) -> scalar; the model's own when left out
    greater_is_better : otherwise the metric is a perplexity
    """

    metric: str
    score: Callable[[PreTrainedModel], float]
    collate: Callable[[list[dict[str, Any]]], Batch]
    loss: Loss | None = None
    greater_is_better: bool = True

    def mean_score(self, scores: Iterable[float]) -> float:
        """One score for several speedups."""
        # Perplexities are ratios: the largest must not outweigh all the others.
        return fmean(scores) if self.greater_is_better else geometric_mean(scores)


class ProfileSampler:
    """The full model, and profiles at speedups drawn anew for each batch.

    Where width is trained too, a level is drawn among those that do not exceed the speedup, and tokens give the rest.
    Half of the levels differ by layer, as those do that a search tries. Python's random state decides, which Trainer
    saves and restores; of several processes that of the first, since others may draw from it there, such as trackers.
    """

    def __init__(self, dial: Dial, config: AdjustConfig) -> None:
        self.config = config
        self.dials = [dial.with_profile_type(profile_type) for profile_type in config.profiles]
        self.full = Profile.full(dial.layers)
        self.levels: list[Level | None] = [None] if "tokens" in config.axes else []
        if config.narrows:
            self.levels += levels_of(dial, dial.widths)
            self.whole = whole_level(dial.shapes)
            self.widths = [1.0, *sorted(dial.widths, reverse=True)]

    def passes(self) -> list[Profile]:
        """The full model and a sampled profile; where ``full_share`` is given, only one of them."""
        return ranks.on_first(self._passes)

    def _passes(self) -> list[Profile]:
        share = self.config.full_share
        if share is None:
            return [self.full, self.draw()]
        return [self.full if random.random() < share else self.draw()]

    def draw(self) -> Profile:
        """A profile of a random type at a random speedup, at most the largest that this type reaches."""
        # Small speedups are used most and drawn more often. In steps of 0.1, so that a profile is solved for once and
        # then cached.
        power, largest = self.config.speedup_sampling_power, self.config.max_speedup
        largest *= FURTHER if self.config.narrows else 1.0
        speedup = round(MIN_SPEEDUP + (largest - MIN_SPEEDUP) * random.random() ** power, 1)
        dial = random.choice(self.dials)
        level = self._level(dial, speedup)
        if "tokens" not in self.config.axes:
            return replace(self.full, level=level)
        return at_level(dial, level, speedup)

    def _level(self, dial: Dial, speedup: float) -> Level | None:
        """A level that alone is no faster than a speedup."""
        if len(self.levels) == 1:
            return self.levels[0]
        level = random.choice([one for one in self.levels if level_gain(dial, one) <= speedup] or self.levels[:1])
        if random.random() < 0.5:
            return level
        mixed = self._mixed(random.randrange(len(self.widths)))
        return mixed if level_gain(dial, mixed) <= speedup else level

    def _mixed(self, place: int) -> Level:
        """A level whose layers have one of the widths, or one beside it, each; sometimes a layer is left out."""
        layers, last = range(self.whole.layers), len(self.widths) - 1
        shares = [[self.widths[min(max(place + random.randint(-1, 1), 0), last)] for _ in layers] for _ in range(2)]
        if random.random() < 0.5 and self.whole.layers > 2:
            out = random.randrange(self.whole.layers - 1)
            shares[0][out] = shares[1][out] = 0.0
        return self.whole.scaled(*shares)


def unwrapped(model: Any) -> Any:
    """The model without the wrapper that distributed training puts around it."""
    return getattr(model, "module", model)
