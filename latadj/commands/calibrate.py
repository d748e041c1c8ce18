"""latadj calibrate: ACC over training text, the profiles of every type, the dial."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

from latadj.benchmark.kernel_selection import fastest_kernel, kernels
from latadj.benchmark.noise import NoiseMonitor
from latadj.calibration.make_dial import WindowTrial
from latadj.calibration.precision import compare, fastest_that_agrees
from latadj.calibration.steps import acc_dial, measure_serving, search_profiles
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import (
    METADATA_FILE,
    CheckpointMetadata,
    Device,
    check,
    read_metadata,
    write_metadata,
)
from latadj.checkpoints.task_spec import TaskSpec
from latadj.commands.checks import check_protection, uses_pretrained
from latadj.commands.common.exported_clock import ExportedSession, measure_graphs, prepare_exported
from latadj.commands.common.runtime_choice import choose_runtime
from latadj.commands.common.session import Session, open_checkpoint, open_pretrained, open_without_examples
from latadj.commands.common.validation_drops import ValidationDrops
from latadj.config import CalibrateConfig
from latadj.devices.device import place
from latadj.devices.environment import environment
from latadj.elimination.dial import Dial
from latadj.inference.device_dial import remember
from latadj.reporting.plots import plot_contribution
from latadj.reporting.results.calibrated_profiles import SHOWN, profiles_document, profiles_shown
from latadj.utils.console import progress
from latadj.utils.files import write_json
from latadj.utils.serialization import unstructure

log = logging.getLogger("latadj")
# Default number of profiles tried for each speedup.
TEXT_TRIALS, PROMPT_TRIALS = 48, 6


def prepare(config: CalibrateConfig, checked: CheckpointMetadata | None = None) -> Session | ExportedSession:
    """Load checkpoint and examples, or open the graphs that another runtime is to run.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them
    """
    if config.runtime not in (None, "auto"):
        return prepare_exported(config)
    metadata = checked
    if metadata is None and not uses_pretrained(config):
        metadata = check(Path(config.checkpoint), config.task)
    if config.calibration.device_only:
        if metadata is None or metadata.dial is None:
            raise ValueError(f"checkpoint {config.checkpoint} has no dial yet: leave calibration.device_only out")
        check_protection(metadata.dial, config.task)
    if metadata is None:
        session = open_pretrained(config)
    elif config.reads_text:
        session = open_checkpoint(config, metadata)
    else:
        session = open_without_examples(config, metadata)
    if config.device.precision != "auto":
        kernels(config.device.precision, session.device)
    return session


def run(session: Session | ExportedSession) -> dict[str, Any]:
    """Make the checkpoint's dial from training text, measure this device, and the drops along it on validation text.

    Returns
    -------
    what ``calibrate/calibrate.json`` holds
    """
    if isinstance(session, ExportedSession):
        return measure_graphs(session)
    config = session.config
    assert isinstance(config, CalibrateConfig)
    if config.runtime == "auto":
        return choose_runtime(session)
    calibration = config.calibration
    folder, work = Path(config.checkpoint), Path(config.folder) / "calibrate"
    contribution, tried = None, list[WindowTrial]()
    if calibration.device_only:
        dial = session.metadata.dial
        assert dial is not None
        count = int((session.metadata.notes.get("calibration") or {}).get("examples") or 0)
    else:
        validation = ValidationDrops.of(session)  # a plain model that cannot be loaded is refused before the search
        examples = session.calibration_set(
            calibration.examples,
            autocast=session.training_dtype,  # ranking needs no more
        )
        count = len(examples.lengths)
        dial, contribution, tried = acc_dial(
            session.model, examples, calibration, widths=_widths(session.metadata), show=_shown
        )
        if tried:
            log.info("window: %s, on profile=%s", dial.window.text(), dial.profile_type)
        plot_contribution(contribution, work / "acc.png", title=f"{config.model.name} on {config.task.name}")
    measured = measure_device(session, dial) if config.clock.rounds > 0 else None
    timed = _in_time(dial, measured, config)
    if not calibration.device_only:
        timed = _searched(session, timed)
        if validation is not None:
            timed = replace(timed, drops=validation.measured(timed, SHOWN, _shown))
        dial = replace(timed, latency=None, lengths=dial.lengths)
    shown = profiles_shown(timed)
    result = {
        "schema": "latadj.calibrate/2",
        "model": config.model.name,
        "task": config.task.name,
        "examples": count,
        "layer_acc": list(dial.layer_acc),
        "by_rank": None if contribution is None else contribution.by_rank.tolist(),
        "tried": [asdict(trial) for trial in tried],
        "dial": unstructure(dial),
        "device": None if measured is None else {"place": place(session.device), **asdict(measured)},
        "reach": timed.reach(),
        "profiles": shown,
        "environment": environment(session.device, config.device.precision),
        "config": asdict(config),
    }
    write_json(work / "calibrate.json", result)
    # Read again to be changed: another precision or device may have been calibrated meanwhile.
    metadata = read_metadata(folder)
    if not calibration.device_only:
        calibrated = {"examples": count, "seed": config.seed, "trials": _trials(session)}
        if validation is not None:
            calibrated["validation_examples"] = len(validation.examples)
        metadata.dial, metadata.notes = dial, {**metadata.notes, "calibration": calibrated}
        # Runtimes were timed at the profiles of the dial before, and graphs hold that one.
        metadata.devices = {name: replace(device, runtimes=()) for name, device in metadata.devices.items()}
    if measured is not None:
        metadata = remember(metadata, session.device, measured)
    if config.reads_text or metadata.task_spec is None:
        metadata.task_spec = TaskSpec.of(config.task)
    if folder.is_dir():
        write_metadata(folder, metadata)
    else:
        metadata.task = config.task.name
        checkpoint.save(session.model, session.tokenizer, folder, metadata)
    profiles_document(timed, shown).print()
    log.info("wrote %s and %s", folder / METADATA_FILE, work)
    return result


def _widths(metadata: CheckpointMetadata) -> tuple[float, ...]:
    """The widths that a checkpoint was trained at."""
    return metadata.dial.widths if metadata.dial else ()


@contextmanager
def _shown(name: str, total: int) -> Iterator[Callable[[str], object]]:
    """Show the progress of a step of the calibration."""
    with progress(name, total) as steps:
        yield lambda note: steps.advance(note=note)


def _trials(session: Session) -> int:
    config = session.config
    assert isinstance(config, CalibrateConfig)
    if config.search.trials is not None:
        return config.search.trials
    return PROMPT_TRIALS if session.generates else TEXT_TRIALS


def _searched(session: Session, dial: Dial) -> Dial:
    """The dial with searched profiles, solved for this device's time if that is known, else for FLOPs.

    They are searched on text that the model was not trained on.
    """
    config = session.config
    assert isinstance(config, CalibrateConfig)
    search, trials, profile_type = config.search, _trials(session), dial.profile_type
    examples = session.calibration_set(config.calibration.examples, autocast=session.training_dtype, unseen=True)
    dial = search_profiles(
        dial,
        session.model,
        examples,
        session.short_set(examples) if trials else None,
        prompts=session.generates,
        speedups=search.speedups,
        trials=trials,
        seed=config.seed,
        levels=search.levels,
        show=_shown,
    )
    if config.calibration.profile == "searched" and not dial.anchors:
        log.warning("no search was made, so the dial uses profile=%s", profile_type)
        return dial.with_profile_type(profile_type)
    return dial.with_profile_type(config.calibration.profile)


def measure_device(session: Session, dial: Dial) -> Device:
    """Kernel and latency model of the config's precision; ``auto`` chooses one first."""
    config = session.config
    assert isinstance(config, CalibrateConfig)
    batch = session.batch
    device = Device()
    precision = config.device.precision
    if precision == "auto":
        examples = session.calibration_set(config.calibration.examples)
        trials = compare(session.model, examples, session.device, batch_size=batch, seed=config.seed)
        precision = device.precision = fastest_that_agrees(trials)
        device.trials = {name: {"agreement": trial.agreement, "ms": trial.ms} for name, trial in trials.items()}
        shown = ", ".join(f"{name} {t.ms:.1f} ms, {100 * t.agreement:.1f}% agree" for name, t in trials.items())
        log.info("device.precision=auto takes %s (%s)", precision, shown)
        kernel = trials[precision].spec
    else:
        kernel = fastest_kernel(session.model, precision, session.device)
    lengths = [config.workload.length] if config.workload.length else dial.lengths
    with NoiseMonitor() as monitor:
        serving = measure_serving(
            session.model,
            dial,
            kernel,
            batch=batch,
            lengths=lengths,
            clock=config.clock,
            seed=config.seed,
            show=_shown,
        )
    monitor.report({})
    error = 100 * serving.models[0].error
    log.info("%s by %s, batch %d: median error of predicted latency %.1f%%", *astuple(kernel), batch, error)
    device.serving[kernel.precision] = serving
    return device


def _in_time(dial: Dial, measured: Device | None, config: CalibrateConfig) -> Dial:
    """The dial in the time of the device that was just measured; in FLOPs if there is none."""
    if measured is None:
        return dial
    (served,) = measured.serving.values()
    return dial.on(served.models[0], [config.workload.length] if config.workload.length else None)
