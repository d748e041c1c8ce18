"""A dial in the time of a device, and what was measured of the device."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from latadj.checkpoints.metadata import CheckpointMetadata, Device, Serving
from latadj.devices.device import place
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel
from latadj.kernels.linear import KernelSpec

log = logging.getLogger("latadj")
# A latency model that was measured for lengths this near takes the place of an older one.
SAME = 1.25


def dial_for(
    dial: Dial,
    metadata: CheckpointMetadata,
    spec: KernelSpec,
    device: torch.device,
    batch: int | None,
    lengths: Sequence[int] | None,
) -> Dial | None:
    """The dial in this device's time; None if the device was not calibrated in this precision.

    Parameters
    ----------
    batch, lengths : the workload; None are the batch that was measured and the lengths of the calibration set
    """
    served = metadata.devices.get(place(device), Device()).serving.get(spec.precision)
    return timed_dial(dial, served if served and served.kernel == spec.kernel else None, batch, lengths)


def timed_dial(dial: Dial, served: Serving | None, batch: int | None, lengths: Sequence[int] | None) -> Dial | None:
    """The dial in the time of what was measured; None if that is nothing.

    Parameters
    ----------
    batch, lengths : as in :func:`dial_for`
    """
    expected = lengths or dial.lengths
    latency = served.model(batch, expected) if served else None
    if latency is None:
        return None
    if batch and not 0.5 <= latency.batch / batch <= 2:
        log.warning(
            "the dial was calibrated at batch %d, for batch %d it may be off: calibrate with workload.batch=%d",
            latency.batch,
            batch,
            batch,
        )
    if latency.lengths is not None and latency.beyond(expected) > 2:
        least, largest = latency.lengths
        log.warning(
            "the dial was calibrated on texts of %d to %d tokens, for those of %d to %d it may be off: calibrate %s",
            *(least, largest, min(expected), max(expected)),
            f"with workload.length={max(expected)}" if lengths else "without workload.length",
        )
    return dial.on(latency, lengths)


def on_device(
    dial: Dial,
    metadata: CheckpointMetadata,
    spec: KernelSpec,
    device: torch.device,
    batch: int | None,
    length: int | None,
) -> Dial:
    """The dial in this device's time, or, with a warning, as it is where the device was not calibrated.

    Parameters
    ----------
    batch, length : as in :func:`make_ready`
    """
    timed = dial_for(dial, metadata, spec, device, batch, [length] if length else None)
    if timed is None:
        log.warning(
            "the dial is marked in FLOPs: this device (%s, %s) was not calibrated; `latadj calibrate "
            "calibration.device_only=true device.precision=%s` (same options) takes a minute or two",
            *(place(device), spec.precision, spec.precision),
        )
    return timed or dial


def remember(metadata: CheckpointMetadata, device: torch.device, measured: Device) -> CheckpointMetadata:
    """The metadata with what was measured on this device added to what they had."""
    before = metadata.devices.get(place(device), Device())
    serving = {name: _merged(before.serving.get(name), served) for name, served in measured.serving.items()}
    merged = replace(
        before,
        precision=measured.precision or before.precision,
        trials=measured.trials or before.trials,
        serving={**before.serving, **serving},
    )
    return replace(metadata, devices={**metadata.devices, place(device): merged})


def _merged(before: Serving | None, measured: Serving) -> Serving:
    """The new measurement, with the models of other batch sizes and lengths if it is of the same kernel."""
    if before is None or before.kernel != measured.kernel:
        return measured

    def stands_for(newer: LatencyModel, model: LatencyModel) -> bool:
        return newer.batch == model.batch and (model.lengths is None or newer.beyond(model.lengths) <= SAME)

    others = tuple(model for model in before.models if not any(stands_for(newer, model) for newer in measured.models))
    return Serving(measured.kernel, (*measured.models, *others))
