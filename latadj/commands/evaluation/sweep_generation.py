"""latadj sweep on a generation task: perplexity, controls, time to first token, decoding and cache."""

import logging
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from latadj.benchmark.generation_timer import GenerationTimes, ModelVariant, time_generation
from latadj.benchmark.noise import NoiseMonitor
from latadj.commands.common.full_model import fine_tuned, plain
from latadj.commands.common.served_model import under, within_reach
from latadj.commands.common.session import Session, as_dict
from latadj.config import EvalConfig, SweepConfig
from latadj.config.speedups import parse_speedups
from latadj.devices.environment import environment
from latadj.elimination.attach import at_speedup, dial_of
from latadj.elimination.cost import flops_speedup, schedule
from latadj.elimination.profiles import Profile
from latadj.kernels.lowering import kernel_of
from latadj.reporting.output import show, write
from latadj.reporting.results.generation import OWN, PLAIN, GenerationRow, GenerationSweep
from latadj.reporting.results.sweep import CONTROLS
from latadj.tasks.metrics.intervals import ScoredPerplexity, score_perplexity
from latadj.tasks.outputs.likelihood import likelihoods, rows_to_score
from latadj.utils.console import progress

log = logging.getLogger("latadj")


def run(session: Session) -> GenerationSweep:
    """Turn the dial through ``speedup`` and measure; reads the test split."""
    config = session.config
    assert isinstance(config, SweepConfig)
    encoded = session.encoded(next(iter(session.splits.tests.values())))
    full = plain(session, Path(config.checkpoint))
    sweep, _ = score_dial(session, encoded, within_reach(session), full, CONTROLS)
    measure = config.measure
    if measure.prompts > 0:
        time_dial(session, encoded, sweep, full, measure.prompts, measure.repeats, measure.warmup)
    work = Path(config.folder) / "sweep"
    written = write(sweep, work)
    show(sweep)
    log.info("wrote %s to %s", written, work)
    return sweep


@dataclass
class Scorer:
    """Asks models about the same continuations.

    rows, tokens, documents, lengths : of the examples: prompts and continuations, tokens of a continuation, which
        document it is from, tokens of the prompt
    """

    session: Session
    rows: list[dict[str, Any]]
    tokens: np.ndarray
    documents: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, session: Session, encoded: Dataset) -> "Scorer":
        """``encoded`` has the columns ``input_ids``, ``continuation``, ``document`` and ``length``."""
        rows = rows_to_score(encoded)
        tokens = np.array([len(row["continuation"]) for row in rows])
        return cls(session, rows, tokens, np.asarray(encoded["document"]), np.asarray(encoded["length"]))

    def ask(self, model: PreTrainedModel) -> np.ndarray:
        """(examples,) negative log-likelihoods by a model as it stands."""
        return likelihoods(model, self.rows, batch_size=self.session.config.task.batch_size).nll

    def cut(self, profile: Profile, control: str | None = None) -> np.ndarray:
        """The same by the session's model at a profile, with the dial's own score or a control's."""
        with under(self.session, profile, control):
            return self.ask(self.session.model)

    def compare(self, ours: np.ndarray, theirs: np.ndarray) -> ScoredPerplexity:
        return score_perplexity(ours, theirs, self.tokens, self.documents, self.session.config.seed)

    def row(self, wanted: float, ours: np.ndarray, best: np.ndarray) -> GenerationRow:
        """What one position of the dial costs, counted from the better full model."""
        dial = dial_of(self.session.model)
        profile, scored = dial.profile(wanted), self.compare(ours, best)
        counts = schedule(profile.keep, self.lengths, dial.reads).sum(axis=1)
        return GenerationRow(
            speedup=wanted,
            keep=[float(count / counts[0]) for count in counts[1:]],
            profile=list(profile.keep),
            profile_type=dial.profile_type,
            metric=scored.metric,
            metric_ci=scored.metric_ci,
            increase=scored.increase,
            increase_ci=scored.increase_ci,
            flops_speedup=flops_speedup(dial.shapes, profile.keep, self.lengths, dial.reads),
            predicted=dial.predicted(profile) if dial.latency else None,
        )

    def add_control(self, row: GenerationRow, name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Note what a control's score gives at the profile of ``row``."""
        control, over = self.compare(theirs, ours), self.compare(ours, theirs)
        row.controls[name], row.controls_ci[name] = control.metric, control.metric_ci
        row.over_controls[name], row.over_controls_ci[name] = over.increase, over.increase_ci


def score_dial(
    session: Session,
    encoded: Dataset,
    speedups: list[float],
    full: PreTrainedModel,
    controls: tuple[str, ...] = (),
) -> tuple[GenerationSweep, list[np.ndarray]]:
    """Perplexity of the full models, of every speedup and of controls at the same profile, without the clock.

    Parameters
    ----------
    full : the checkpoint as transformers runs it
    controls : names of scores

    Returns
    -------
    the sweep, and (examples,) negative log-likelihoods for each of its rows
    """
    dial, scorer = dial_of(session.model), Scorer.of(session, encoded)
    rows: list[GenerationRow] = []
    answers = []
    with progress("perplexity", 2 + len(speedups) * (1 + len(controls))) as steps:
        own = scorer.cut(dial.profile(1.0))
        steps.advance(note="this checkpoint")
        reference = scorer.ask(fine_tuned(session) or full)
        steps.advance(note="plain model")
        best = min(own, reference, key=lambda nll: float(nll.sum()))
        for wanted in speedups:
            profile = dial.profile(wanted)
            ours = own if wanted == 1.0 else scorer.cut(profile)
            row = scorer.row(wanted, ours, best)
            steps.advance(note=f"{row.name} {row.metric:.2f}")
            for name in controls:
                scorer.add_control(row, name, ours, scorer.cut(profile, name) if profile.eliminates else ours)
                steps.advance(note=f"{row.name} {name} {row.controls[name]:.2f}")
            rows.append(row)
            answers.append(ours)
    return _sweep(session, scorer, rows, own, reference, full), answers


def _sweep(
    session: Session,
    scorer: Scorer,
    rows: list[GenerationRow],
    own: np.ndarray,
    reference: np.ndarray,
    full: PreTrainedModel,
) -> GenerationSweep:
    config, dial, route = session.config, dial_of(session.model), kernel_of(session.model)
    assert isinstance(config, (SweepConfig, EvalConfig))
    done = [row.speedup for row in rows]
    return GenerationSweep(
        model=config.model.name,
        task=config.task.name,
        metric=config.task.metric,
        baseline_metric=scorer.compare(own, own).metric,
        plain_metric=scorer.compare(reference, reference).metric,
        test_examples=len(scorer.rows),
        documents=len(np.unique(scorer.documents)),
        prompt_length=float(scorer.lengths.mean()),
        continuation_length=float(scorer.tokens.mean()),
        rows=rows,
        target=dial.target,
        unreachable=[speedup for speedup in parse_speedups(config.speedup) if speedup not in done],
        reach=dial.reach(),
        environment={
            **environment(session.device, route.precision),
            "kernel": route.kernel,
            "attention": full.config._attn_implementation,
        },
        config=as_dict(config),
    )


def time_dial(
    session: Session,
    encoded: Dataset,
    sweep: GenerationSweep,
    full: PreTrainedModel,
    prompts: int,
    rounds: int,
    warmup: int,
) -> GenerationTimes:
    """Fill in the clock's part of a sweep: the plain model and every speedup take turns on ``prompts`` prompts."""
    config, model = session.config, session.model
    chosen = np.random.default_rng(config.seed).permutation(len(encoded))[:prompts]
    contestants = {PLAIN: ModelVariant(full), OWN: ModelVariant(model, partial(at_speedup, model, 1.0))}
    for row in sweep.rows:
        contestants[row.name] = ModelVariant(model, partial(at_speedup, model, row.speedup))
    with NoiseMonitor() as watch, progress("clock", 2 * (rounds + warmup)) as steps:
        times = time_generation(
            contestants,
            [encoded[int(place)]["input_ids"] for place in np.sort(chosen)],
            steps=config.task.continuation_length,
            rounds=rounds,
            warmup=warmup,
            device=session.device,
            seed=config.seed,
            advance=steps.advance,
        )
    sweep.environment["quiet"] = asdict(watch.report(times.first_token))
    sweep.clock(times, config.seed)
    return times
