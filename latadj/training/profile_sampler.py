"""Samples the elimination profiles of the passes that a batch of adjustable fine-tuning goes through."""

import math
import random

from latadj.config import AdjustConfig
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile

MIN_SPEEDUP = 1.1


class ProfileSampler:
    """The full model, and profiles at speedups drawn anew for each batch.

    Python's random state decides, which Trainer saves and restores.
    """

    def __init__(self, dial: Dial, config: AdjustConfig) -> None:
        self.config = config
        self.dials = [dial.with_profile_type(profile_type) for profile_type in config.profiles]
        self.full = Profile.full(dial.layers)

    def passes(self) -> list[Profile]:
        """The full model and a sampled profile; where ``full_share`` is given, only one of them."""
        share = self.config.full_share
        if share is None:
            return [self.full, self.draw()]
        return [self.full if random.random() < share else self.draw()]

    def draw(self) -> Profile:
        """A profile of a random type at a random speedup, at most the largest that this type reaches."""
        # Small speedups are used most and drawn more often. In steps of 0.1, so that a profile is solved for once and
        # then cached.
        power, largest = self.config.speedup_sampling_power, self.config.max_speedup
        speedup = round(MIN_SPEEDUP + (largest - MIN_SPEEDUP) * random.random() ** power, 1)
        dial = random.choice(self.dials)
        return dial.profile(speedup if dial.reaches(speedup) else max(math.floor(10 * dial.reach()) / 10, 1.0))
