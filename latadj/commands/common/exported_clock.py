"""The part of `latadj calibrate` that measures exported graphs: runtime=onnxruntime or openvino."""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from latadj.benchmark.noise import NoiseMonitor
from latadj.calibration.exported_clock import measure_exported
from latadj.checkpoints.metadata import METADATA_FILE, Device, Serving, read_metadata, write_metadata
from latadj.config import CalibrateConfig
from latadj.reporting.results.calibrated_profiles import profiles_document, profiles_shown
from latadj.runtime import Predictor
from latadj.utils.console import progress
from latadj.utils.files import write_json
from latadj.utils.serialization import unstructure

log = logging.getLogger("latadj")


@dataclass
class ExportedSession:
    """A folder of graphs that is ready to be measured."""

    config: CalibrateConfig
    predictor: Predictor


def prepare_exported(config: CalibrateConfig) -> ExportedSession:
    """Open the folder of graphs.

    Raises
    ------
    ValueError
        if it holds no graphs with a dial.
    """
    predictor = Predictor(config.exported, threads=config.device.asked_threads)
    if predictor.runtime != config.runtime:
        raise ValueError(
            f"runtime={config.runtime}: the graphs of exported={config.exported} are for {predictor.runtime}"
        )
    if predictor.manifest.speedup is not None or predictor.dial is None:
        raise ValueError(f"exported={config.exported}: these graphs have no dial; export without speedup=")
    return ExportedSession(config, predictor)


def measure_graphs(session: ExportedSession) -> dict[str, Any]:
    """Measure the graphs, and write their clock into the folder's ``latadj.json``.

    Returns
    -------
    what ``calibrate/exported.json`` holds
    """
    config, predictor = session.config, session.predictor
    folder, precision = Path(config.exported), predictor.manifest.precision
    assert predictor.dial is not None
    metadata, dial = read_metadata(folder), replace(predictor.dial, latency=None)
    batch = config.workload.batch or (metadata.task_spec.batch_size if metadata.task_spec else 32)
    lengths = [config.workload.length] if config.workload.length else dial.lengths
    with NoiseMonitor() as monitor, progress(f"clock {precision}", config.clock.rounds) as steps:
        clock = measure_exported(
            predictor,
            dial,
            batch=batch,
            lengths=lengths,
            rounds=config.clock.rounds,
            budget_s=config.clock.budget_s,
            seed=config.seed,
            advance=lambda: steps.advance(note=""),
        )
    monitor.report({})
    log.info("%s, batch %d: median error of predicted latency %.1f%%", predictor.place, batch, 100 * clock.error)
    before = metadata.devices.get(predictor.place, Device())
    known = before.serving.get(precision)
    others = tuple(one for one in known.models if one.batch != batch) if known else ()
    served = {**before.serving, precision: Serving(str(config.runtime), (clock, *others))}
    devices = {**metadata.devices, predictor.place: replace(before, serving=served)}
    write_metadata(folder, replace(metadata, devices=devices))
    timed = dial.on(clock, [config.workload.length] if config.workload.length else None)
    shown = profiles_shown(timed)
    result = {
        "schema": "latadj.calibrate-exported/1",
        "place": predictor.place,
        "clock": unstructure(clock),
        "reach": timed.reach(),
        "profiles": shown,
        "config": asdict(config),
    }
    write_json(Path(config.folder) / "calibrate" / "exported.json", result)
    profiles_document(timed, shown).print()
    log.info("wrote the clock to %s", folder / METADATA_FILE)
    return result
