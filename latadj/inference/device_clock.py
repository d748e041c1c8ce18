"""Whether this device was measured, so that a deadline can be told from a speedup. Imports no torch."""

from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, Device


def needs_clock(
    option: str, checkpoint: Path, metadata: CheckpointMetadata, where: str, precision: str, batch: int | None = None
) -> str:
    """The message where a deadline is wanted and nobody measured the device.

    Parameters
    ----------
    option : the deadline as it is written on the command line
    where : what was measured instead
    batch : texts of a batch, where the user named a number
    """
    size = f" workload.batch={batch}" if batch else ""
    return (
        f"{option} goes by the time that passes take, and checkpoint {checkpoint} was calibrated on {where}: run "
        f"`{metadata.calibrate(checkpoint)} calibration.device_only=true device.precision={precision}{size}`, "
        "a minute or two"
    )


def require_clock(
    option: str, checkpoint: Path, metadata: CheckpointMetadata, here: str, precision: str, batch: int | None = None
) -> None:
    """Refuse a deadline on a device that was not measured in the precision asked for.

    Parameters
    ----------
    here : name of this device, see ``latadj.devices.device.place``

    Raises
    ------
    ValueError
    """
    known = metadata.devices.get(here, Device())
    wanted = known.precision if precision == "auto" else precision
    if wanted is None or wanted not in known.serving or not known.serving[wanted].models:
        where = f"another device or precision than this ({here}, {wanted})"
        raise ValueError(needs_clock(option, checkpoint, metadata, where, precision, batch))


def require_any_clock(
    option: str, checkpoint: Path, metadata: CheckpointMetadata, precision: str, batch: int | None = None
) -> None:
    """Refuse a deadline where no device was measured.

    Raises
    ------
    ValueError
    """
    if not any(served.models for device in metadata.devices.values() for served in device.serving.values()):
        raise ValueError(needs_clock(option, checkpoint, metadata, "no device", precision, batch))
