"""latadj calibrate: ACC over training text, families of profiles, the dial."""

import copy
import logging
import math
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

from latadj import checkpoint
from latadj.calibration import (
    PLAIN_FAMILIES,
    Contribution,
    Trial,
    add_search,
    choose_window,
    make_dial,
    measure_contribution,
    windows_to_try,
)
from latadj.commands.session import Session, as_dict, open_checkpoint, open_pretrained
from latadj.config import CalibrateConfig
from latadj.device import place
from latadj.dial_checks import check_protection, uses_pretrained
from latadj.elimination.attach import attach, attached
from latadj.elimination.lower import lower
from latadj.elimination.profile import Dial
from latadj.elimination.window import WHOLE
from latadj.files import write_json
from latadj.measure.device_model import measure
from latadj.measure.environment import environment
from latadj.measure.quiet import Watch
from latadj.precision import compare, fastest_route, fastest_that_agrees, kernels
from latadj.questions import Questions
from latadj.report.console import progress
from latadj.report.plots import plot_contribution
from latadj.report.tables import print_dial
from latadj.serving import remember
from latadj.sidecar import (
    SIDECAR,
    Device,
    Purpose,
    Serving,
    check,
    read_sidecar,
    write_sidecar,
)

log = logging.getLogger("latadj")
# Profiles tried for each speedup where nobody says, and examples that a choice between prompts stands on: long
# prompts take their time.
TRIALS = {"classification": 48, "generation": 6}
MOST_TRIED = 8
SHOWN = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)


def prepare(config: CalibrateConfig) -> Session:
    """Load checkpoint and examples."""
    as_it_is = uses_pretrained(config)
    dial = None if as_it_is else check(Path(config.checkpoint), config.task).dial
    if config.calibration.device_only and dial is None:
        raise ValueError(f"checkpoint {config.checkpoint} has no dial yet: leave calibration.device_only out")
    if dial is not None and config.calibration.device_only:
        check_protection(dial, config.task)
    session = open_pretrained(config) if as_it_is else open_checkpoint(config)
    if config.device.precision != "auto":
        kernels(config.device.precision, session.device)
    return session


def run(session: Session) -> dict[str, Any]:
    """Make the checkpoint's dial, and measure this device; reads the training split only.

    Returns
    -------
    what ``calibrate/calibrate.json`` holds
    """
    config = session.config
    assert isinstance(config, CalibrateConfig)
    calibration = config.calibration
    questions = session.questions(
        calibration.examples,
        autocast=session.training_dtype,  # ranking needs no more, and it is a long search
    )
    folder, work = Path(config.checkpoint), Path(config.folder) / "calibrate"
    contribution, tried = None, list[Trial]()
    if calibration.device_only:
        dial = read_sidecar(folder).dial
        assert dial is not None
    else:
        dial, contribution, tried = _acc_dial(session, questions)
        plot_contribution(contribution, work / "acc.png", title=f"{config.model.name} on {config.task.name}")
    found = measure_device(session, dial) if config.clock.rounds > 0 else None
    marked = _marked(dial, found, config)
    if not calibration.device_only:
        marked = _searched(session, marked, questions)
        dial = replace(marked, latency=None, lengths=dial.lengths)
    shown = profiles(marked)
    result = {
        "schema": "latadj.calibrate/1",
        "model": config.model.name,
        "task": config.task.name,
        "examples": len(questions.lengths),
        "layer_acc": list(dial.layer_acc),
        "by_rank": None if contribution is None else contribution.by_rank.tolist(),
        "tried": [asdict(trial) for trial in tried],
        "dial": dial.to_json(),
        "device": None if found is None else {"place": place(session.device), **asdict(found)},
        "reach": marked.reach(),
        "profiles": shown,
        "environment": environment(session.device, config.device.precision),
        "config": as_dict(config),
    }
    write_json(work / "calibrate.json", result)
    # Read only now: another precision or device may have been calibrated meanwhile.
    sidecar = read_sidecar(folder)
    if not calibration.device_only:
        calibrated = {"examples": len(questions.lengths), "seed": config.seed, "trials": _trials(session)}
        sidecar.dial, sidecar.notes = dial, {**sidecar.notes, "calibration": calibrated}
    if found is not None:
        sidecar = remember(sidecar, session.device, found)
    sidecar.purpose = Purpose.of(config.task)
    if folder.is_dir():
        write_sidecar(folder, sidecar)
    else:
        sidecar.task = config.task.name
        checkpoint.save(session.model, session.tokenizer, folder, sidecar)
    print_dial(marked, shown)
    log.info("wrote %s and %s", folder / SIDECAR, work)
    return result


def _acc_dial(session: Session, questions: Questions) -> tuple[Dial, Contribution, list[Trial]]:
    """The dial that ACC gives, in FLOPs, the ACC behind it, and what was tried for a decoder's window."""
    config = session.config
    assert isinstance(config, CalibrateConfig)
    calibration, model = config.calibration, session.model
    windows = windows_to_try(calibration) if attached(model).family.causal else [WHOLE]
    contribution = measure_contribution(model, questions, score=calibration.score, window=windows[0])
    dial = make_dial(model, contribution, calibration, windows[0])
    tried: list[Trial] = []
    if len(windows) > 1:
        with progress("window", len(PLAIN_FAMILIES) * len(windows)) as steps:
            dial, tried = choose_window(
                dial, model, questions.first(MOST_TRIED), windows, advance=lambda note: steps.advance(note=note)
            )
        log.info("window: %s, on family=%s", dial.window.text(), dial.family)
    return dial, contribution, tried


def _trials(session: Session) -> int:
    config = session.config
    assert isinstance(config, CalibrateConfig)
    if config.search.trials is not None:
        return config.search.trials
    return TRIALS["generation" if session.generates else "classification"]


def _searched(session: Session, dial: Dial, questions: Questions) -> Dial:
    """The dial on its family, with profiles searched for as it is marked: in this device's time if that is known."""
    config = session.config
    assert isinstance(config, CalibrateConfig)
    search, trials, family = config.search, _trials(session), dial.family
    if trials > 0:
        wanted = [speedup for speedup in search.speedups if speedup <= dial.max_speedup]
        with progress("search", len(wanted) * trials) as steps:
            dial = add_search(
                dial,
                session.model,
                questions.first(MOST_TRIED) if session.generates else questions,
                speedups=wanted,
                trials=trials,
                seed=config.seed,
                advance=lambda speedup, best: steps.advance(note=f"{speedup:g}x {_found(best)}"),
            )
    if config.calibration.family == "searched" and not dial.anchors:
        log.warning("no search was made, so the dial stands on family=%s", family)
        return dial.with_family(family)
    return dial.with_family(config.calibration.family)


def _found(divergence: float) -> str:
    return "is beyond what is found yet" if math.isnan(divergence) else f"divergence {divergence:.4f}"


def measure_device(session: Session, dial: Dial) -> Device:
    """Kernel and latency model of the precision asked for; with ``auto``, the choice of it before."""
    config = session.config
    assert isinstance(config, CalibrateConfig)
    batch = session.batch
    found = Device()
    precision = config.device.precision
    if precision == "auto":
        questions = session.questions(config.calibration.examples)
        trials = compare(session.model, questions, session.device, batch_size=batch, seed=config.seed)
        precision = found.precision = fastest_that_agrees(trials)
        found.trials = {name: {"agreement": trial.agreement, "ms": trial.ms} for name, trial in trials.items()}
        shown = ", ".join(f"{name} {t.ms:.1f} ms, {100 * t.agreement:.1f}% agree" for name, t in trials.items())
        log.info("device.precision=auto takes %s (%s)", precision, shown)
        route = trials[precision].route
    else:
        route = fastest_route(session.model, precision, session.device)
    twin = lower(copy.deepcopy(session.model), route, dial.reads)
    attach(twin, dial)
    lengths = [config.workload.length] if config.workload.length else dial.lengths
    with Watch() as watch, progress(f"clock {route.precision}", config.clock.rounds) as steps:
        latency = measure(
            twin,
            dial,
            batch=batch,
            lengths=lengths,
            device=session.device,
            rounds=config.clock.rounds,
            budget_s=config.clock.budget_s,
            seed=config.seed,
            advance=steps.advance,
        )
    watch.report({})
    log.info("%s by %s, batch %d: the clock is foreseen to %.1f%%", *astuple(route), batch, 100 * latency.error)
    found.serving[route.precision] = Serving(route.kernel, (latency,))
    return found


def _marked(dial: Dial, found: Device | None, config: CalibrateConfig) -> Dial:
    """The dial marked in the time of the device that was just measured."""
    if found is None:
        return dial
    (served,) = found.serving.values()
    return dial.on(served.models[0], [config.workload.length] if config.workload.length else None)


def profiles(dial: Dial) -> list[dict[str, Any]]:
    """The dial's profiles at the speedups worth showing, with what each costs."""
    found = []
    for speedup in SHOWN:
        if speedup > dial.max_speedup:
            break
        try:
            profile = dial.profile(speedup)
        except ValueError as error:  # a few words a text cannot be cut far
            log.info("%s", error)
            break
        speedups = {"flops_speedup": dial.speedup_of(profile), "predicted": dial.predicted(profile)}
        found.append({"speedup": speedup, "keep": list(profile.keep), **speedups})
    return found
