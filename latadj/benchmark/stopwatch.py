"""Times one piece of work on one device."""

import time
from collections.abc import Callable
from typing import Any

import torch


class Stopwatch:
    """Wall-clock seconds, with the device's queue empty before and after."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def time(self, work: Callable[[], object]) -> float:
        """Seconds that ``work`` takes."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Return once the device has done all it was given."""
        if self.device.type == "mps":
            torch.mps.synchronize()


class EventStopwatch(Stopwatch):
    """Seconds between two events on a CUDA device's own clock.

    The events lie on PyTorch's current stream: work on another stream (another runtime's, say) has to wait for it
    before it returns, or its end is missed.

    Parameters
    ----------
    cuda : ``torch.cuda``, or what stands for it
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        super().__init__(device)
        self._cuda = cuda

    def time(self, work: Callable[[], object]) -> float:
        """Seconds that ``work`` takes, launching it included: the first event passes an empty queue at once."""
        start, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        # Without a stream, an event goes to the device that is current, which need not be this one.
        stream = self._cuda.current_stream(self.device)
        self.wait()
        start.record(stream)
        work()
        end.record(stream)
        self.wait()
        return float(start.elapsed_time(end)) / 1000

    def wait(self) -> None:
        self._cuda.synchronize(self.device)


def stopwatch(device: torch.device) -> Stopwatch:
    """The stopwatch that suits a device."""
    return EventStopwatch(device) if device.type == "cuda" else Stopwatch(device)
