"""Peak memory of a model that serves, measured in a process of its own."""

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from latadj.benchmark.memory import in_own_process, peak_memory
from latadj.config import DeviceConfig
from latadj.devices.select import choose
from latadj.elimination.attach import at_profile, attach
from latadj.elimination.profiles import Profile
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower


def footprint(
    make: Callable[[], PreTrainedModel],
    device: DeviceConfig,
    shape: tuple[int, int],
    route: KernelSpec | None = None,
    profile: Profile | None = None,
) -> float | None:
    """Peak of the process while a model serves batches of one shape.

    Parameters
    ----------
    make : makes the plain model; can be pickled
    shape : (batch, length)
    route, profile : how it is lowered and cut; without a route it is the plain model, as transformers runs it

    Returns
    -------
    MB of a process (libraries, weights and all), of the device's memory on CUDA; None where it cannot be read
    """
    return in_own_process(_serve, make, device, shape, route, profile)


def _serve(
    make: Callable[[], PreTrainedModel],
    device: DeviceConfig,
    shape: tuple[int, int],
    route: KernelSpec | None,
    profile: Profile | None,
) -> float | None:
    where = choose(device)
    model = make().to(where)
    if route is not None:
        lower(attach(model), route)
    # A head that reads the last token that is no padding would otherwise be cut to the first one.
    filler = 2 if model.config.pad_token_id == 1 else 1
    ids = torch.full(shape, filler, device=where)

    def work() -> None:
        with torch.inference_mode():
            for _ in range(2):
                model(input_ids=ids)

    if profile is None:
        found = peak_memory(work, where)
    else:
        with at_profile(model, profile):
            found = peak_memory(work, where)
    return None if found is None else found / 2**20
