"""latadj calibrate: ACC over training text, families of profiles, the dial."""

import logging
from pathlib import Path
from typing import Any

import torch

from latadj.calibration import add_search, make_dial, measure_contribution
from latadj.commands.session import Session, as_dict, open_checkpoint
from latadj.config import CalibrateConfig
from latadj.device import trains_in_bf16
from latadj.elimination.profile import Dial
from latadj.files import write_json
from latadj.measure.environment import environment
from latadj.report.console import progress
from latadj.report.plots import plot_contribution
from latadj.report.tables import print_dial
from latadj.sidecar import SIDECAR, Sidecar, check, read_sidecar, write_sidecar
from latadj.tasks.encode import rows_of

log = logging.getLogger("latadj")
SHOWN = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)


def prepare(config: CalibrateConfig) -> Session:
    """Load checkpoint and examples."""
    check(Path(config.checkpoint), config.task)
    return open_checkpoint(config)


def run(session: Session) -> dict[str, Any]:
    """Make the checkpoint's dial; reads the training split only.

    Returns
    -------
    what ``calibrate/calibrate.json`` holds
    """
    config = session.config
    assert isinstance(config, CalibrateConfig)
    calibration, search = config.calibration, config.search
    train = session.splits.train.shuffle(seed=config.seed)
    rows = rows_of(session.encoded(train.select(range(min(calibration.examples, len(train))))))
    # Ranking profiles needs no more than the precision the model was trained in, and it is a long search.
    fast = trains_in_bf16(config.device, session.device) and config.device.precision == "fp32"
    autocast = torch.bfloat16 if fast else None
    contribution = measure_contribution(
        session.model, session.tokenizer, rows, score=calibration.score, autocast=autocast
    )
    dial = make_dial(session.model, contribution, max_speedup=calibration.max_speedup, score=calibration.score)
    if search.trials > 0:
        wanted = [speedup for speedup in search.speedups if speedup <= dial.max_speedup]
        with progress("search", len(wanted) * search.trials) as steps:
            dial = add_search(
                dial,
                session.model,
                session.tokenizer,
                rows,
                speedups=wanted,
                trials=search.trials,
                seed=config.seed,
                autocast=autocast,
                advance=lambda speedup, best: steps.advance(note=f"{speedup:g}x divergence {best:.4f}"),
            )
    if calibration.family == "searched" and not dial.anchors:
        log.warning("no search was made, so the dial stands on family=acc")
    else:
        dial = dial.with_family(calibration.family)

    work = Path(config.folder) / "calibrate"
    plot_contribution(contribution, work / "acc.png", title=f"{config.model.name} on {config.task.name}")
    result = {
        "schema": "latadj.calibrate/1",
        "model": config.model.name,
        "task": config.task.name,
        "examples": len(rows),
        "layer_acc": list(dial.layer_acc),
        "by_rank": contribution.by_rank.tolist(),
        "dial": dial.to_json(),
        "profiles": profiles(dial),
        "environment": environment(session.device, config.device.precision),
        "config": as_dict(config),
    }
    write_json(work / "calibrate.json", result)
    folder = Path(config.checkpoint)
    calibrated = {"examples": len(rows), "seed": config.seed, "trials": search.trials}
    notes = {**read_sidecar(folder).notes, "calibration": calibrated}
    write_sidecar(folder, Sidecar(config.task.name, dial, notes))
    print_dial(dial, profiles(dial))
    log.info("wrote %s, %s and %s", folder / SIDECAR, work / "acc.png", work)
    return result


def profiles(dial: Dial) -> list[dict[str, Any]]:
    """The dial's profiles at the speedups worth showing, with the FLOPs speedup each really has."""
    found = []
    for speedup in SHOWN:
        if speedup > dial.max_speedup:
            break
        try:
            profile = dial.profile(speedup)
        except ValueError as error:  # a few words a text cannot be cut far
            log.warning("%s", error)
            break
        found.append({"speedup": speedup, "keep": list(profile.keep), "flops_speedup": dial.speedup_of(profile)})
    return found
