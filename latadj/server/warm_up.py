"""Before a server is ready: kernels are made, and batches are timed."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from latadj.elimination.profiles import Profile
from latadj.server.model_runner import BatchRunner
from latadj.server.time_fit import BatchTimes, TimedBatch

# Texts of the batches that are timed, and how many speedups along the dial they are timed at.
SIZES, PLACES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32), 5
# Share of the warm-up in which kernels are made, at most; the rest is for timing.
KERNEL_SHARE = 0.7
# Of each size and speedup, at least so many are timed, and no more than so many.
LEAST, MOST = 2, 40


class WarmUp:
    """Warms a model up.

    Parameters
    ----------
    profiles : that batches run at
    times : as the latency model predicts them
    lengths : tokens of texts that stand for those to come
    batch_s : seconds that a batch of several texts may take
    """

    def __init__(
        self,
        runner: BatchRunner,
        profiles: Sequence[Profile],
        times: BatchTimes,
        lengths: Sequence[int],
        batch_s: float,
    ) -> None:
        self._runner, self._profiles, self._times = runner, profiles, times
        self._lengths, self._batch_s = np.asarray(lengths), batch_s
        self._rng = np.random.default_rng(0)

    def __call__(self, seconds: float) -> BatchTimes:
        """Make kernels, then time batches."""
        end = time.perf_counter() + seconds
        self._make_kernels(time.perf_counter() + KERNEL_SHARE * seconds)
        return self._times.fitted(self._timed(end))

    def _make_kernels(self, end: float) -> None:
        """Run a batch of each size that kernels are made for, then batches like those to come.

        The first batches of a new process take twice as long as later ones.
        """
        layers = len(self._profiles[0].keep)
        levels = dict.fromkeys(profile.level for profile in self._profiles)
        typical = max(int(np.median(self._lengths)), 1)
        largest = max(sum(lengths) for _, lengths in self._batches(1))
        for rows in self._runner.kernel_sizes(largest):
            for level in levels:
                texts = -(-rows // typical)
                shared = [rows // texts + (number < rows % texts) for number in range(texts)]
                self._runner(self._rows(shared), replace(Profile.full(layers), level=level))
                if time.perf_counter() > end:
                    return
        while time.perf_counter() < end:
            for place, lengths in self._batches(1):
                self._runner(self._rows(lengths), self._profiles[place])
                if time.perf_counter() > end:
                    return

    def _timed(self, end: float) -> list[TimedBatch]:
        timed = []
        for turn in range(MOST):
            for place, lengths in self._batches(1):
                rows = self._rows(lengths)
                if turn < LEAST:
                    self._runner(rows, self._profiles[place])  # kernels for a new shape are made once
                start = time.perf_counter()
                self._runner(rows, self._profiles[place])
                timed.append(TimedBatch(place, lengths, time.perf_counter() - start))
                if turn >= LEAST and time.perf_counter() > end:
                    return timed
        return timed

    def _batches(self, turns: int) -> list[tuple[int, list[int]]]:
        """Place and lengths of batches like those to come, in no order: of each size that is not far too slow."""
        places = sorted({round(place) for place in np.linspace(0, len(self._profiles) - 1, PLACES)})
        chosen = []
        for size in SIZES:
            middle = float(self._rng.choice(self._lengths))
            near = self._lengths[np.abs(np.log(self._lengths / middle)) < np.log(1.5)]
            lengths = [int(length) for length in self._rng.choice(near, size)]
            for place in places:
                if size == 1 or self._times.seconds(place, lengths) <= 2 * self._batch_s:
                    chosen.append((place, lengths))
        self._rng.shuffle(chosen)
        return chosen

    def _rows(self, lengths: Sequence[int]) -> list[dict[str, Any]]:
        return [self._runner.random_row(self._rng, length) for length in lengths]
