"""latadj info: what a checkpoint holds, without loading it; neither torch nor transformers where that can be."""

import json
import logging
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from latadj.checkpoints.config_file import model_config
from latadj.checkpoints.metadata import WEIGHTS, CheckpointMetadata, Device, Serving, check
from latadj.checkpoints.run_folder import model_folder
from latadj.checkpoints.weight_files import read_headers, shape_of
from latadj.devices.hardware_key import HardwareKey, likely_cpu
from latadj.devices.measured_times import known_layer
from latadj.elimination.cost import laid_out_weights, linear_weights, width_of
from latadj.elimination.dial import Dial
from latadj.elimination.model_types import SUPPORTED, unsupported
from latadj.elimination.observation_window import WHOLE
from latadj.reporting.results.dial_positions import DialInfo, Position
from latadj.reporting.results.info import DeviceInfo, Info, PrunedInfo, Served, Shape, Tested
from latadj.reporting.results.written import tested
from latadj.utils.files import load_json

log = logging.getLogger("latadj")
SHOWN = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0)


def run(path: Path, as_json: bool = False) -> Info:
    """Print what a checkpoint holds; ``path`` is its folder or that of the run that made it.

    Raises
    ------
    ValueError
        if there is no whole checkpoint.
    """
    info = inspect(path)
    if as_json:
        print(json.dumps(info.to_json(), indent=1, allow_nan=False))
    else:
        info.show()
    return info


def inspect(path: Path) -> Info:
    """What a checkpoint holds, see :func:`run`."""
    folder = model_folder(path)
    metadata = check(folder)
    config = model_config(folder, "copy the folder anew")
    if not isinstance(config.get("model_type"), str):
        raise ValueError(f"{folder / 'config.json'}: expected a transformers config with a model_type")
    weights = read_headers(folder)
    architectures = config.get("architectures") or [None]
    if not isinstance(architectures, list):
        raise ValueError(f"{folder / 'config.json'}: architectures={architectures}: expected a list of names")
    here = _here(metadata)
    shape = Shape(config["model_type"], architectures[0], *shape_of(config), **asdict(weights))
    info = Info(
        folder=str(folder),
        model=shape,
        task=metadata.task,
        task_spec=asdict(metadata.task_spec) if metadata.task_spec else None,
        dial=_dial(metadata, here, weights.parameters) if metadata.dial else None,
        devices=[_device(name, device, here) for name, device in metadata.devices.items()],
        here=str(here),
        auto=_auto(metadata, shape, str(here)),
        validation=_stages(metadata),
        tested=_tested(folder, metadata),
        calibration=dict(metadata.notes.get("calibration") or {}),
        run=metadata.notes.get("run"),
        seed=metadata.notes.get("seed"),
        pruned=_pruned(metadata),
        extracted=metadata.notes.get("extracted"),
        topk_attention=metadata.topk_attention.to_json() if metadata.topk_attention else None,
        supports=list(SUPPORTED.get(shape.type, ())),
    )
    info.warnings = _warnings(info, metadata, here)
    return info


def _here(metadata: CheckpointMetadata) -> HardwareKey:
    """The device that a command would take; torch is asked only where it decides."""
    known = [place for place in map(HardwareKey.of, metadata.devices) if place is not None]
    likely = likely_cpu()
    gpus = any(place.kind != "cpu" for place in known)
    if likely is not None and not gpus and (likely in known or not any(map(likely.but_for_threads, known))):
        return likely
    from latadj.config import DeviceConfig
    from latadj.devices import device

    here = HardwareKey.of(device.place(device.choose(DeviceConfig())))
    assert here is not None
    return here


def _dial(metadata: CheckpointMetadata, here: HardwareKey, parameters: int) -> DialInfo:
    dial = metadata.dial
    assert dial is not None
    memory = {}
    if dial.levels:
        laid_out, rest = laid_out_weights(dial.shapes, dial.levels), max(parameters - linear_weights(dial.shapes), 0)
        # Of what is not a layer's linear layer nothing is laid out anew, and int8 leaves it in fp32.
        sizes = {"fp32": (4, 4), "bf16": (2, 2), "int8": (4, 1)}
        memory = {
            name: (rest * one + laid_out * other) / (4 * max(parameters, 1)) for name, (one, other) in sizes.items()
        }
    precision, batch = None, None
    device = metadata.devices.get(str(here))
    if device is not None and (served := _headline(device, metadata)) is not None:
        precision, serving = served
        latency = serving.model(metadata.task_spec.batch_size if metadata.task_spec else None, dial.lengths)
        assert latency is not None
        dial, batch = dial.on(latency), latency.batch
    return DialInfo(
        profile_type=dial.profile_type,
        score=dial.score,
        target=dial.target,
        precision=precision,
        batch=batch,
        max_speedup=dial.max_speedup,
        reach=dial.reach(),
        reads=dial.reads,
        searched=[anchor.speedup for anchor in dial.anchors],
        window=None if dial.window == WHOLE else dial.window.text(),
        layer_acc=list(dial.layer_acc),
        positions=[_position(dial, speedup) for speedup in SHOWN if speedup <= dial.max_speedup],
        levels=len(dial.levels),
        memory=memory,
    )


def _headline(device: Device, metadata: CheckpointMetadata) -> tuple[str, Serving] | None:
    """The precision whose clock is shown: what ``auto`` takes, else fp32, else any that was measured."""
    order = [device.precision, "fp32", *device.serving]
    return next(
        ((name, device.serving[name]) for name in order if name in device.serving and device.serving[name].models), None
    )


def _position(dial: Dial, speedup: float) -> Position:
    if not dial.reaches(speedup):
        return Position(speedup)
    profile = dial.profile(speedup)
    drop = dial.drop_of(profile)
    seconds = None
    if dial.latency is not None:
        seconds = float(dial.seconds(profile, dial.lengths).mean())
    return Position(
        speedup,
        list(profile.keep),
        dial.speedup_of(profile),
        dial.predicted(profile),
        None if seconds is None else 1000 * seconds,
        profile.short_length,
        profile.whole_length,
        width_of(dial.shapes, profile.level),
        None if drop is None else drop.drop,
        None if drop is None else (drop.low, drop.high),
    )


def _device(name: str, device: Device, here: HardwareKey) -> DeviceInfo:
    serving = [
        Served(precision, served.kernel, model.batch, model.error)
        for precision, served in device.serving.items()
        for model in sorted(served.models, key=lambda model: model.batch)
    ]
    serving += [Served(name, served.kernel) for name, served in device.serving.items() if not served.models]
    return DeviceInfo(name, name == str(here), device.precision, device.trials, serving, device.runtimes)


def _auto(metadata: CheckpointMetadata, shape: Shape, here: str) -> str | None:
    """What ``device.precision=auto`` takes on this device, and why; None where nobody has asked for it yet."""
    device = metadata.devices.get(here)
    if device is not None and device.precision is not None:
        trials = (
            f"{name} {trial['ms']:.3g} ms a batch, {100 * trial['agreement']:.1f}% agree with fp32"
            for name, trial in device.trials.items()
            if {"ms", "agreement"} <= set(trial)
        )
        return "; ".join([f"{device.precision}, by calibration", *trials])
    measured = known_layer(shape.type, shape.width, here) if shape.width else None
    if measured is None:
        return None
    return f"{'bf16' if measured.bf16_pays else 'fp32'}: a layer takes {measured}"


def _stages(metadata: CheckpointMetadata) -> dict[str, dict[str, Any]]:
    stages = metadata.notes.get("validation") or {}
    return {str(name): dict(metrics) for name, metrics in stages.items() if isinstance(metrics, dict)}


def _pruned(metadata: CheckpointMetadata) -> PrunedInfo | None:
    if metadata.pruning is None:
        return None
    layers = metadata.pruning.layers
    return PrunedInfo(
        heads=[len(left.heads) for left in layers],
        of_heads=[left.of_heads for left in layers],
        neurons=[len(left.neurons) for left in layers],
        of_neurons=[left.of_neurons for left in layers],
        notes=dict(metadata.notes.get("pruned") or {}),
    )


def _tested(folder: Path, metadata: CheckpointMetadata) -> list[Tested]:
    """Test results of the run folder that this checkpoint lies in, if they are of it."""
    weights = max((folder / name).stat().st_mtime for name in WEIGHTS if (folder / name).is_file())
    results = []
    for path in (folder.parent / "sweep" / "sweep.json", folder.parent / "eval" / "eval.json"):
        try:
            data = tested(load_json(path))
            if _is_of(data, folder, metadata):
                results.append(_scores(data, path, weights))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, OverflowError) as error:  # the last of a year that no clock has
            log.warning("%s is damaged, so it is left out: %s", path, error)
    return results


def _is_of(data: dict[str, Any], folder: Path, metadata: CheckpointMetadata) -> bool:
    return data["task"] == metadata.task and Path(data["config"]["checkpoint"]).name == folder.name


def _scores(data: dict[str, Any], path: Path, weights: float) -> Tested:
    rows = data["rows"] if "rows" in data else [{**data, "metric": _first(data)}]
    time = data["environment"].get("time")
    return Tested(
        file=str(path),
        metric=data["metric"],
        full=data.get("baseline_metric"),
        scores={f"{row['speedup']:g}": float(row["metric"]) for row in rows},
        time=time,
        older=time is not None and datetime.fromisoformat(time).timestamp() < weights,
    )


def _first(data: dict[str, Any]) -> float:
    """The headline split's metric in what `latadj eval` wrote."""
    return float(next(iter(data["scores"].values()))[data["metric"]])


def _warnings(info: Info, metadata: CheckpointMetadata, here: HardwareKey) -> list[str]:
    if not info.supports:
        return [unsupported(info.model.type)]
    calibrate = metadata.calibrate(Path(info.folder))
    if info.dial is None:
        return [f"there is no dial, so it runs at speedup 1 only: make one with `{calibrate}`"]
    lines = []
    if not any(device.here for device in info.devices):
        threads = [
            str(place.threads)
            for place in map(HardwareKey.of, metadata.devices)
            if place is not None and here.but_for_threads(place) and place.threads is not None
        ]
        device_only = f"`{calibrate} calibration.device_only=true`"
        if threads:
            lines.append(
                f"calibrated here with {' and '.join(threads)} threads, commands now take {here.threads}, for which "
                f"the dial is marked in FLOPs: give device.threads={threads[0]}, or run {device_only}"
            )
        else:
            known = "; ".join([device.place for device in info.devices]) or "no device"
            lines.append(
                f"this device ({here}) is not one it was calibrated on ({known}), so the dial is marked in FLOPs "
                f"here: measure this device with {device_only}"
            )
    lines += [
        f"{result.file} is older than the weights, so it may be of others: run `latadj {Path(result.file).stem}` again"
        for result in info.tested
        if result.older
    ]
    return lines
