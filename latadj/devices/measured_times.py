"""How long this device takes for pieces of work: measured once, and remembered in the user's cache.

That a device has instructions does not say that they are faster. A run that is gone on with so finds the same answer.
What is remembered is read without torch.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from latadj.utils.files import load_json, write_json
from latadj.utils.serialization import structure

if TYPE_CHECKING:
    import torch

log = logging.getLogger("latadj")
# Rounds at least and at most; where other processes take the cores, few come near the least.
ROUNDS, MOST_ROUNDS, MOST_SECONDS = 5, 60, 5.0
AGREE = 1.05
# bf16 costs accuracy, so it has to be faster by more than a clock is off.
FASTER = 1.1
FLOATS = ("fp32", "bf16")

# Milliseconds by variant.
Times = dict[str, float]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of the same work in both types, the least of a few rounds in turn."""

    fp32_ms: float
    bf16_ms: float

    @property
    def bf16_pays(self) -> bool:
        """Whether bf16 is so much faster that it is worth its rounding."""
        return self.fp32_ms > FASTER * self.bf16_ms

    def __str__(self) -> str:
        return f"{self.bf16_ms:.3g} ms in bf16, {self.fp32_ms:.3g} ms in fp32"


def timing(work: str, device: torch.device, make: Callable[[], Mapping[str, Callable[[], object]]]) -> Timing:
    """Some work on a device in fp32 and in bf16, measured if nobody did; parameters as of :func:`remembered`."""
    times = remembered(work, device, FLOATS, make)
    return Timing(*(times[name] for name in FLOATS))


def layer_work(model_type: str, width: int, attention: int, feed_forward: int) -> str:
    """The name of a pass of one transformer layer; parameters are widths: outside, and inside of the two blocks."""
    return f"{_layer(model_type, width)} (attention {attention}, feed-forward {feed_forward})"


def _layer(model_type: str, width: int) -> str:
    return f"a pass of a {model_type} layer of width {width}"


def known_layer(model_type: str, width: int, where: str) -> Timing | None:
    """What a pass of such a layer took on a device, by its :func:`~latadj.devices.device.place`; None: not known."""
    for work, by_place in _read().items():
        times = by_place.get(where, {})
        if work.startswith(f"{_layer(model_type, width)} (") and set(times) == set(FLOATS):
            return Timing(*(times[name] for name in FLOATS))
    return None


def remembered(
    work: str,
    device: torch.device,
    names: Sequence[str],
    make: Callable[[], Mapping[str, Callable[[], object]]],
) -> Times:
    """Milliseconds of some work on a device in each of its variants, measured if nobody did.

    Parameters
    ----------
    work : its name
    names : of the variants
    make : makes what a variant runs, by name; called only where they are measured
    """
    times = recalled(work, device)
    if set(times) != set(names):
        times, settled = _timed(make(), device)
        if settled:
            log.info("measured once on this device: %s takes %s", work, shown(times))
            keep(work, device, times)
        else:
            log.warning("measured on a busy machine, so not remembered: %s takes %s", work, shown(times))
            _known[work, _place(device)] = times
    return times


def recalled(work: str, device: torch.device) -> Times:
    """What is remembered of some work on a device; empty where nothing is."""
    where = _place(device)
    if (work, where) not in _known and (times := _read().get(work, {}).get(where)):
        _known[work, where] = times
    return _known.get((work, where), {})


def keep(work: str, device: torch.device, times: Times) -> None:
    """Remember what some work takes on a device."""
    where = _place(device)
    _known[work, where] = times
    # Read again: another process may have measured something meanwhile.
    everything = _read()
    everything.setdefault(work, {})[where] = times
    _write(everything)


def _place(device: torch.device) -> str:
    from latadj.devices.device import place

    return place(device)


def shown(times: Times) -> str:
    """Times for a log line."""
    return ", ".join(f"{ms:.3g} ms ({name})" for name, ms in times.items())


def cache_file() -> Path:
    """Where what was measured is remembered."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "latadj" / "precision.json"


@dataclass
class _Remembered:
    """What the cache holds: by work, then by device, then by variant."""

    milliseconds: dict[str, dict[str, Times]] = field(default_factory=dict)


# By work and device.
_known: dict[tuple[str, str], Times] = {}


def _read() -> dict[str, dict[str, Times]]:
    """What is remembered; nothing where the file is missing or of another form."""
    try:
        return structure(_Remembered, load_json(cache_file())).milliseconds
    except (OSError, ValueError):
        return {}


def _write(everything: dict[str, dict[str, Times]]) -> None:
    try:
        write_json(cache_file(), asdict(_Remembered(everything)))
    except (OSError, ValueError) as error:  # a full disk, or a home that cannot be written: measured again next time
        log.debug("not remembered: %s", error)


def _timed(variants: Mapping[str, Callable[[], object]], device: torch.device) -> tuple[Times, bool]:
    """The least of some rounds in turn, and whether each variant came near its least twice."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    begin = time.perf_counter()
    for turn in range(MOST_ROUNDS + 1):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                import torch

                torch.cuda.synchronize(device)
            if turn:  # the first one makes kernels
                taken[name].append(1000 * (time.perf_counter() - start))
        least = [sorted(times)[:2] for times in taken.values()]
        settled = turn >= ROUNDS and all(second <= AGREE * first for first, second in least)
        if settled or (turn >= ROUNDS and time.perf_counter() - begin > MOST_SECONDS):
            break
    return {name: min(times) for name, times in taken.items()}, settled
