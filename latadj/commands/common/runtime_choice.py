"""The part of `latadj calibrate` that finds the fastest runtime: runtime=auto."""

import copy
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from latadj.benchmark.noise import NoiseMonitor
from latadj.calibration.precision import AGREEMENT
from latadj.calibration.runtime_race import SPEEDUPS, race
from latadj.checkpoints.metadata import METADATA_FILE, Device, read_metadata, write_metadata
from latadj.commands.common.exported_clock import measure_graphs, prepare_exported
from latadj.commands.common.session import Session
from latadj.config import CalibrateConfig
from latadj.devices.device import place
from latadj.devices.environment import environment
from latadj.elimination.attach import attach
from latadj.elimination.dial import Dial
from latadj.inference.graph_folder import check_graphs, graphs_measured
from latadj.inference.graph_model import load_graphs
from latadj.inference.serving import kernel_for
from latadj.kernels.lowering import lower
from latadj.reporting.results.runtimes import runtimes_table
from latadj.reporting.table import Document
from latadj.runtime.manifest import Manifest, is_exported
from latadj.runtime.sessions import RUNTIMES
from latadj.utils.console import progress
from latadj.utils.files import write_json
from latadj.utils.serialization import unstructure

log = logging.getLogger("latadj")
BATCHES = (1, 8, 32)
# The folder where `latadj export` leaves its result, in a file of the name that graphs have theirs in.
RESULT = "export"
Candidate = tuple[str | None, str]


def choose_runtime(session: Session) -> dict[str, Any]:
    """Time the checkpoint against the graphs in its run's folder, and note the times in its ``latadj.json``.

    Graphs that have no clock of this machine get one.

    Returns
    -------
    what ``calibrate/runtimes.json`` holds

    Raises
    ------
    ValueError
        if there are no graphs of this checkpoint's dial, or the device is no CPU.
    """
    config, dial = session.config, session.metadata.dial
    assert isinstance(config, CalibrateConfig) and dial is not None
    if session.device.type != "cpu":
        raise ValueError(f"runtime=auto: graphs run on the CPU, and device.name={config.device.name} is another")
    folders = _graphs_of(config, dial)
    for folder in folders:
        manifest = Manifest.read(folder)
        if graphs_measured(manifest, read_metadata(folder), config.device.asked_threads) is None:
            runtime = RUNTIMES[manifest.format]
            measure_graphs(prepare_exported(replace(config, exported=str(folder), runtime=runtime)))
    models = _candidates(session, config, dial, folders)
    with NoiseMonitor() as monitor, progress("runtimes", len(BATCHES) * len(SPEEDUPS)) as steps:
        times = race(
            models,
            session.calibration_set(config.calibration.examples),
            dial,
            batches=BATCHES,
            seed=config.seed,
            advance=lambda: steps.advance(note=""),
        )
    monitor.report({})
    checkpoint, here = Path(config.checkpoint), place(session.device)
    metadata = read_metadata(checkpoint)  # again: another device may have been calibrated meanwhile
    device = replace(metadata.devices.get(here, Device()), runtimes=times)
    write_metadata(checkpoint, replace(metadata, devices={**metadata.devices, here: device}))
    result = {
        "schema": "latadj.calibrate-runtimes/1",
        "place": here,
        "runtimes": unstructure(times),
        "environment": environment(session.device, config.device.precision),
        "config": asdict(config),
    }
    write_json(Path(config.folder) / "calibrate" / "runtimes.json", result)
    Document([runtimes_table(times)]).print()
    log.info("wrote the times to %s", checkpoint / METADATA_FILE)
    return result


def _graphs_of(config: CalibrateConfig, dial: Dial) -> list[Path]:
    """Folders of graphs in the run's folder that may take the checkpoint's place."""
    found, run = [], Path(config.folder)
    for folder in sorted(run.iterdir()) if run.is_dir() else []:
        if not is_exported(folder) or folder.name == RESULT:
            continue
        try:
            metadata = check_graphs(folder, replace(config.device, precision="auto"), "run")
        except ValueError as error:
            log.warning("left out: %s", error)
            continue
        if metadata.dial != dial:
            log.warning("left out: %s holds another dial than %s; export it again", folder, config.checkpoint)
        elif config.device.precision in ("auto", Manifest.read(folder).precision):
            found.append(folder)
    if not found:
        raise ValueError(
            f"runtime=auto: there are no graphs of {config.checkpoint} in {run} for "
            f"device.precision={config.device.precision}; make some with `latadj export`, and of int8 name "
            "device.precision=auto"
        )
    return found


def _candidates(
    session: Session, config: CalibrateConfig, dial: Dial, folders: list[Path]
) -> dict[Candidate, PreTrainedModel]:
    """The models to time: those whose answers at 1x agree with the checkpoint's in fp32."""
    examples = session.calibration_set(config.calibration.examples)
    plain = attach(session.model, dial)
    expected = examples.outputs(plain)
    asked, found = config.device.precision, dict[Candidate, PreTrainedModel]()
    # Of `auto` also fp32, in which the other commands run unless they are told otherwise.
    for precision in ("fp32", "auto") if asked == "auto" else (asked,):
        spec = kernel_for(plain, session.metadata, precision, session.device)
        if (None, spec.precision) not in found:
            lowered = lower(copy.deepcopy(plain), spec, dial.reads, dial.levels)
            found[None, spec.precision] = attach(lowered, dial)
    for folder in folders:
        threads = config.device.asked_threads
        model, _ = load_graphs(folder, read_metadata(folder), target="flops", threads=threads)
        name, agreement = (
            os.path.relpath(folder, config.checkpoint),
            examples.agreement(examples.outputs(model), expected),
        )
        if agreement >= AGREEMENT:
            found[name, model.kernel.precision] = model
        else:
            log.warning(
                "left out: agreement of %s with fp32 is %.1f%%, and %.1f%% is asked for",
                *(folder, 100 * agreement, 100 * AGREEMENT),
            )
    return found
