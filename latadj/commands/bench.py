"""latadj bench: the dial against what else a user could take, over batch sizes and lengths."""

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from latadj.benchmark.backends import Forward, build, missing
from latadj.benchmark.energy import joules
from latadj.benchmark.kernel_selection import fastest_kernel
from latadj.benchmark.memory import footprint
from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import percentiles_ms, speedup, time_interleaved, time_once
from latadj.calibration.latency_fit import measure
from latadj.checkpoints import checkpoint
from latadj.config import BenchConfig
from latadj.devices import device
from latadj.devices.environment import environment
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.kernels.lowering import kernel_of, lower
from latadj.reporting.results.bench import REFERENCE, BackendTiming, Bench, Cell, DialPoint, Unreachable, dial_name
from latadj.tasks.encoding.batches import Batch
from latadj.utils.console import progress
from latadj.utils.files import write_json

log = logging.getLogger("latadj")
# Passes longer than this need no second run to settle: what another one leaves behind is short.
LONG_S = 0.25


@dataclass
class Stage:
    """All that takes part.

    backends : name -> forward
    dials : precision -> lowered model with elimination attached
    profiles : (batch, length, name of a dial position) -> the profile that was run there
    """

    config: BenchConfig
    device: torch.device
    plain: PreTrainedModel
    backends: dict[str, Forward]
    dials: dict[str, PreTrainedModel]
    profiles: dict[tuple[int, int, str], Profile] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def prepare(config: BenchConfig) -> Stage:
    """Make the model and its dials; backends are made when the run folder is there."""
    where = device.choose(config.device)
    for name in config.backends:
        missing(name)  # refuses a name that is none
    transformers_logging.set_verbosity_error()
    plain = checkpoint.random_model(config.model, config.seed).to(where)
    longest = getattr(plain.config, "max_position_embeddings", math.inf)
    if max(config.length) > longest:
        raise ValueError(f"length={config.length}: this model takes {longest} tokens at most")
    stage = Stage(config, where, plain, {}, {})
    for precision in config.precisions:
        try:
            spec = fastest_kernel(plain, precision, where)
        except ValueError as error:  # this device has no kernel for it
            if precision == config.precisions[-1] and not stage.dials:
                raise
            log.warning("%s", error)
            stage.warnings.append(str(error))
            continue
        stage.dials[precision] = lower(attach(copy.deepcopy(plain)), spec)
    return stage


def run(stage: Stage) -> Bench:
    """Time everything, cell by cell; what is measured is on disk after each.

    Returns
    -------
    what ``bench.json`` holds
    """
    config = stage.config
    folder = Path(config.folder)
    _make_backends(stage, folder / "backends")
    kernels = {precision: kernel_of(model).kernel for precision, model in stage.dials.items()}
    where = {**environment(stage.device, ", ".join(config.precisions)), "kernels": kernels}
    bench = Bench([], where, asdict(config), stage.warnings)
    shapes = [(batch, length) for batch in config.batch for length in config.length]
    with NoiseMonitor() as watch, progress("bench", len(shapes)) as steps:
        for batch, length in shapes:
            bench.cells.append(_cell(stage, batch, length))
            write_json(folder / "bench.json", bench.to_json())
            steps.advance(note=f"batch {batch}, length {length}")
        if config.memory:
            for cell in bench.cells:
                if (cell.batch, cell.length) == tuple(config.memory):
                    cell.memory_mb = _memory(stage, cell)
    bench.environment["quiet"] = asdict(watch.report(_rounds(bench)))
    bench.report(folder)
    return bench


def _make_backends(stage: Stage, folder: Path) -> None:
    """Build the backends that are installed and run on this device; say which are left out."""
    for name in stage.config.backends:
        lacks = missing(name)
        if lacks is None and stage.device.type != "cpu":
            lacks = f"{name} is measured on CPUs only"
        if lacks is not None:
            log.warning("%s", lacks)
            stage.warnings.append(lacks)
            continue
        log.info("building %s", name)
        stage.backends[name] = build(name, stage.plain, folder, torch.get_num_threads())


def _cell(stage: Stage, batch: int, length: int) -> Cell:
    """Solve each precision's dial for one shape, then time it in turns with every backend."""
    config = stage.config
    generator = torch.Generator().manual_seed(config.seed)
    ids = torch.randint(0, stage.plain.config.vocab_size, (batch, length), generator=generator)
    inputs = {"input_ids": ids.to(stage.device), "attention_mask": torch.ones_like(ids).to(stage.device)}
    work: dict[str, Callable[[], object]] = {name: partial(forward, inputs) for name, forward in stage.backends.items()}
    wanted = sorted({1.0, *config.speedup})
    points: list[tuple[str, float, Dial, Profile]] = []
    unreachable = []
    for precision, model in stage.dials.items():
        dial = _dial(stage, model, batch, length, max(wanted))
        for target in wanted:
            if not dial.reaches(target):
                unreachable.append(Unreachable(precision, target, dial.reach()))
                continue
            points.append((precision, target, dial, dial.profile(target)))
            stage.profiles[batch, length, dial_name(precision, target)] = points[-1][3]
            work[dial_name(precision, target)] = partial(_pass, model, points[-1][3], inputs)
    first = {name: _seconds(one, stage.device) for name, one in work.items()}
    seconds = time_interleaved(
        {name: [one] for name, one in work.items()},
        rounds=config.measure.repeats,
        warmup=config.measure.warmup if sum(first.values()) < config.measure.budget_s / 4 else 0,
        device=stage.device,
        seed=config.seed,
        budget_s=config.measure.budget_s,
        settle=max(first.values()) < LONG_S,
    )
    times = {name: percentiles_ms(found) for name, found in seconds.items()}
    dials = []
    for precision, target, dial, profile in points:
        own, name = dial_name(precision, 1.0), dial_name(precision, target)
        ratio = speedup(seconds[own], seconds[name], config.seed)
        flops = dial.speedup_of(profile) / dial.speedup_of(Profile.full(dial.layers))
        interval = (ratio.low, ratio.high)
        dials.append(
            DialPoint(precision, target, dial.predicted(profile), ratio.median, interval, flops, times[name]["p50"])
        )
    spent = _energy(stage, work)
    return Cell(
        batch,
        length,
        backends={name: BackendTiming(times[name]["p50"], times[name]["p95"]) for name in stage.backends},
        dial=dials,
        unreachable=unreachable,
        samples_s={name: found[:, 0].tolist() for name, found in seconds.items()},
        joules=spent,
    )


def _dial(stage: Stage, model: PreTrainedModel, batch: int, length: int, most: float) -> Dial:
    """A geometric dial, since random weights have no ACC worth following, marked in this device's time."""
    config = stage.config
    shapes = layer_shapes(stage.plain)
    dial = Dial(
        layer_acc=(0.9,) * len(shapes),
        lengths=(length,),
        shapes=shapes,
        max_speedup=most,
        profile_type="geometric",
        max_flops=config.max_flops,
        every=config.every,
    )
    attach(model, dial)
    latency = measure(
        model,
        dial,
        batch=batch,
        lengths=[length],
        device=stage.device,
        rounds=config.clock.rounds,
        budget_s=config.clock.budget_s,
        seed=config.seed,
    )
    return dial.on(latency)


def _pass(model: PreTrainedModel, profile: Profile, inputs: Batch) -> object:
    with torch.inference_mode(), at_profile(model, profile):
        return model(**inputs).logits.float().cpu()


def _seconds(work: Callable[[], object], where: torch.device) -> float:
    """About how long a variant takes; where that is short, not counting its first call."""
    first = time_once(work, where)
    return first if first > LONG_S else time_once(work, where)


def _memory(stage: Stage, cell: Cell) -> dict[str, float]:
    """Peak of the plain model, and of each precision at the first and the last speedup, a process each."""
    config, shape = stage.config, (cell.batch, cell.length)
    make = partial(checkpoint.random_model, config.model, config.seed)
    found = {REFERENCE: footprint(make, config.device, shape)}
    for precision, model in stage.dials.items():
        mine = [point for point in cell.dial if point.precision == precision]
        for point in {mine[0].name: mine[0], mine[-1].name: mine[-1]}.values():
            profile = stage.profiles[cell.batch, cell.length, point.name]
            found[point.name] = footprint(make, config.device, shape, kernel_of(model), profile)
    return {name: peak for name, peak in found.items() if peak is not None}


def _energy(stage: Stage, work: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Joules of each variant; empty where the machine has no counter, or Zeus is not installed."""
    found: dict[str, float] = {}
    for name, one in work.items():
        spent = joules(one, repeats=3, device=stage.device)
        if spent is None:  # what one has no counter for, none has
            return {}
        found[name] = spent
    return found


def _rounds(bench: Bench) -> dict[str, Any]:
    """Every variant's rounds in every cell, as the noise report wants them."""
    return {
        f"{cell.title} {name}": [[second] for second in samples]
        for cell in bench.cells
        for name, samples in cell.samples_s.items()
    }
