"""Which strategy finds the better profiles in the same trials: ours, or a sampler of Optuna?

    .venv/bin/pip install optuna cmaes
    .venv/bin/python benchmarks/search_strategies.py folder=outputs/minilm-rotten_tomatoes

Takes options of `latadj calibrate`; the checkpoint has a dial. Half of the validation texts, or as many as
`calibration.examples` says, are searched on, as `latadj calibrate` does it, once for each strategy and each of three
seeds, of which `seed` is the first: profiles alone, or levels with them where the dial has widths. The other texts say
what the profiles are worth. All strategies begin with the same candidates, and may make `search.trials` trials at each
of `search.speedups`. Speedups are in predicted time where this device was calibrated in fp32, else in FLOPs.

Prints Markdown tables: by strategy and speedup the divergence from 1x on the texts searched, the same on the others,
and the metric on the others, each the mean over seeds; and a strategy's divergences over ours, seed by seed.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from width_shares import marked, metric_of

from latadj.calibration.candidates import Candidate, RandomChanges, StrategyOf
from latadj.calibration.make_dial import Divergence, add_search
from latadj.commands.common.session import Session, open_checkpoint
from latadj.config import CalibrateConfig
from latadj.config.compose import compose, typed
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.tasks.outputs.predict import predict

SEEDS = 3
TRIALS = 48
# Log shares that a sampler may give a layer, of the largest: of tokens, and of heads or neurons.
LEAST_TOKENS, LEAST_WIDTH = np.log(1e-3), np.log(0.03)
MOST_SHARE = 0.95


class Sampled:
    """The candidates that a sampler of Optuna suggests, after those that all strategies begin with.

    Parameters
    ----------
    sampler_of : makes a sampler that has seen so many trials, out of the best parameters among them and a seed
    """

    def __init__(
        self,
        sampler_of: Callable[[int, dict[str, float], int], BaseSampler],
        starts: Sequence[Candidate],
        trials: int,
        rng: np.random.Generator,
    ) -> None:
        self._sampler_of, self._starts, self._seed = sampler_of, list(starts), int(rng.integers(2**31))
        self._study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        self._holds = starts[0].holds_level or starts[0].heads is None
        self._space = self._distributions()
        self._trial: optuna.trial.Trial | None = None

    def _distributions(self) -> dict[str, BaseDistribution]:
        first, space = self._starts[0], dict[str, BaseDistribution]()
        for kind, values, least in (
            ("tokens", first.tokens, LEAST_TOKENS),
            *(() if self._holds else (("heads", first.heads, LEAST_WIDTH), ("neurons", first.neurons, LEAST_WIDTH))),
        ):
            space |= {f"{kind}{layer}": FloatDistribution(least, 0.0) for layer in range(len(values))}
        # Up to twice the largest that it begins with; the search itself bounds it further.
        if most := 2 * max(start.short_length for start in self._starts):
            space["short"] = FloatDistribution(0.0, most)
        return space if self._holds else {**space, "share": FloatDistribution(0.0, MOST_SHARE)}

    def ask(self) -> Candidate:
        if self._starts:
            candidate = self._starts.pop(0)
            self._study.enqueue_trial(self._parameters(candidate))
            self._trial = self._study.ask(self._space)
            return candidate
        if isinstance(self._study.sampler, optuna.samplers.RandomSampler):
            seen = [trial for trial in self._study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
            best = self._study.best_params if seen else {}
            self._study.sampler = self._sampler_of(len(seen), best, self._seed)
        self._trial = self._study.ask(self._space)
        return self._candidate(self._trial.params)

    def tell(self, candidate: Candidate, divergence: float | None) -> None:
        assert self._trial is not None
        failed = optuna.trial.TrialState.FAIL
        self._study.tell(self._trial, divergence, state=failed if divergence is None else None)

    def _parameters(self, candidate: Candidate) -> dict[str, float]:
        """The point nearest to a candidate: only the ratios of its directions matter."""
        found = self._logs("tokens", candidate.tokens, candidate.tokens.max(), LEAST_TOKENS)
        found |= {"short": candidate.short_length, "share": min(candidate.width_share, MOST_SHARE)}
        if candidate.heads is not None and candidate.neurons is not None and not self._holds:
            largest = max(candidate.heads.max(), candidate.neurons.max())
            found |= self._logs("heads", candidate.heads, largest, LEAST_WIDTH)
            found |= self._logs("neurons", candidate.neurons, largest, LEAST_WIDTH)
        return {name: value for name, value in found.items() if name in self._space}

    @staticmethod
    def _logs(kind: str, values: np.ndarray, largest: float, least: float) -> dict[str, float]:
        logs = np.log(np.maximum(values / largest, np.exp(least)))
        return {f"{kind}{place}": float(np.clip(log, least, 0.0)) for place, log in enumerate(logs)}

    def _candidate(self, parameters: dict[str, float]) -> Candidate:
        def direction(kind: str) -> np.ndarray:
            names = [name for name in self._space if name.startswith(kind)]
            return np.exp([parameters[name] for name in names])

        short = parameters.get("short", 0.0)
        if self._holds:
            return Candidate(direction("tokens"), short, holds_level=True)
        return Candidate(direction("tokens"), short, parameters["share"], direction("heads"), direction("neurons"))


STRATEGIES: dict[str, StrategyOf] = {
    "random changes, ours": RandomChanges,
    "Optuna, TPE": partial(
        Sampled, lambda seen, best, seed: TPESampler(n_startup_trials=seen, multivariate=True, seed=seed)
    ),
    "Optuna, CMA-ES": partial(
        Sampled, lambda seen, best, seed: CmaEsSampler(x0=best or None, sigma0=0.1, n_startup_trials=0, seed=seed)
    ),
    "Optuna, Gaussian process": partial(
        Sampled, lambda seen, best, seed: GPSampler(n_startup_trials=seen, deterministic_objective=True, seed=seed)
    ),
}


@dataclass
class Found:
    """What a search found at one speedup; NaN where it found nothing."""

    searched: float = float("nan")
    unseen: float = float("nan")
    metric: float = float("nan")


class Contest:
    """Searches on some of the validation texts, and scores on the others."""

    def __init__(self, session: Session, config: CalibrateConfig, dial: Dial) -> None:
        self.session, self.config = session, config
        self.dial, self.unit = marked(session, dial)
        everything = session.calibration_set(len(session.splits.validation), unseen=True)
        count = config.calibration.examples or len(everything.rows) // 2
        self.searched, self.unseen = (
            replace(everything, rows=rows) for rows in (everything.rows[:count], everything.rows[count:])
        )
        self.short = session.short_set(self.searched)
        texts = session.splits.validation.shuffle(seed=self.config.seed)
        self.texts = texts.select(range(count, len(everything.rows)))
        self.encoded = session.encoded(self.texts)
        self.on_searched = Divergence(session.model, self.searched, self.dial)
        self.on_unseen = Divergence(session.model, self.unseen, self.dial)

    def run(self, strategy: StrategyOf, seed: int, trials: int) -> dict[float, Found]:
        """What a strategy finds with a seed, by speedup."""
        dial = add_search(
            self.dial,
            self.session.model,
            self.searched,
            speedups=self.config.search.speedups,
            trials=trials,
            seed=seed,
            levels=self.config.search.levels,
            short=self.short,
            strategy=strategy,
        )
        return {anchor.speedup: self.scored(anchor.profile) for anchor in dial.anchors}

    def scored(self, profile: Profile) -> Found:
        """What a profile is worth."""
        session = self.session
        with at_profile(session.model, profile):
            answers = predict(session.model, session.tokenizer, self.unseen.rows, outputs=session.outputs)
        metric = metric_of(session, answers, self.encoded, self.texts)
        return Found(self.on_searched(profile), self.on_unseen(profile), metric)


def table(title: str, speedups: Sequence[float], cells: dict[str, list[str]]) -> None:
    """A Markdown table, a strategy a row."""
    print(f"\n| {title} |", " | ".join(f"{speedup:g}x" for speedup in speedups), "|")
    print("| --- |" + " ---: |" * len(speedups))
    for name, row in cells.items():
        print(f"| {name} |", " | ".join(row), "|", flush=True)


def main() -> None:
    """Let all strategies search with all seeds, and print what they found."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = typed("calibrate", compose("calibrate", sys.argv[1:]))
    assert isinstance(config, CalibrateConfig)
    session = open_checkpoint(config, train=True)
    dial = session.metadata.dial
    if dial is None:
        sys.exit(f"checkpoint {config.checkpoint}: it has no dial: calibrate it first")
    contest, trials, ours = Contest(session, config, dial), config.search.trials or TRIALS, next(iter(STRATEGIES))
    speedups = config.search.speedups
    found: dict[str, list[dict[float, Found]]] = {name: [] for name in STRATEGIES}
    for seed in range(config.seed, config.seed + SEEDS):
        for name, strategy in STRATEGIES.items():
            began = time.monotonic()
            found[name].append(contest.run(strategy, seed, trials))
            seconds = time.monotonic() - began
            shown = ", ".join(f"{speedup:g}x {one.searched:.4f}" for speedup, one in found[name][-1].items())
            print(f"seed {seed}, {name}: divergence {shown}; {seconds:.0f} s", file=sys.stderr, flush=True)

    def values(name: str, field: str, speedup: float) -> np.ndarray:
        return np.array([getattr(run.get(speedup, Found()), field) for run in found[name]])

    print(
        f"{trials} trials a speedup on {len(contest.searched.rows)} texts, {len(contest.unseen.rows)} others, "
        f"{SEEDS} seeds from {config.seed}, speedups in {contest.unit}"
    )
    for title, field, places in (
        ("divergence, texts searched", "searched", 4),
        ("divergence, other texts", "unseen", 4),
        ("metric, other texts", "metric", 2),
    ):
        cells = {
            name: [f"{values(name, field, speedup).mean():.{places}f}" for speedup in speedups] for name in STRATEGIES
        }
        table(title, speedups, cells)
    for title, field in (("over ours, texts searched", "searched"), ("over ours, other texts", "unseen")):
        ratios = {
            name: [values(name, field, speedup) / values(ours, field, speedup) for speedup in speedups]
            for name in STRATEGIES
            if name != ours
        }
        cells = {
            name: [f"{each.mean():.2f} ({each.min():.2f} to {each.max():.2f})" for each in row]
            for name, row in ratios.items()
        }
        table(title, speedups, cells)


if __name__ == "__main__":
    main()
