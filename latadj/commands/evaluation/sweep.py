"""latadj sweep: one checkpoint, every speedup: metric and loss against the full model, FLOPs, and the clock."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import softmax

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.commands.checks import require_dial
from latadj.commands.common.served_models import open_served
from latadj.commands.common.session import Session
from latadj.commands.evaluation import compare
from latadj.commands.evaluation import variants as compared
from latadj.commands.evaluation.compared_models import ComparedModel
from latadj.commands.evaluation.continuation_scorer import ContinuationScorer
from latadj.commands.evaluation.mteb_scorer import MtebScorer
from latadj.commands.evaluation.scorers import Answers, AnyRow, AnySweep, ExampleScorer, Scorer
from latadj.commands.evaluation.timing import time_batches, time_prompts
from latadj.config import SweepConfig, TaskConfig
from latadj.config.options.task import MTEB
from latadj.config.speedups import shown_speedups
from latadj.elimination.attach import dial_of
from latadj.reporting.results.comparison import Comparison
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.mteb import MtebSweep
from latadj.reporting.results.sweep import Sweep
from latadj.training.trackers import Trackers
from latadj.utils.console import progress
from latadj.utils.csv_text import frame_csv
from latadj.utils.files import write_text

log = logging.getLogger("latadj")


def prepare(
    config: SweepConfig, checked: CheckpointMetadata | list[ComparedModel] | None = None
) -> Session | compared.ComparisonSession:
    """Load checkpoint and examples, make the model ready to serve, and check that the dial reaches a speedup.

    Parameters
    ----------
    checked : the checkpoint's metadata, or the models to compare, if the early check has read them
    """
    if config.compare.models:
        return compared.prepare(config, checked if isinstance(checked, list) else None)
    metadata = checked if isinstance(checked, CheckpointMetadata) else require_dial(config, config.speedup)
    session = open_served(config, metadata)
    reach = dial_of(session.model).reach()
    if min(config.speedup) > reach:
        raise ValueError(f"speedup={shown_speedups(config.speedup)}: this dial ends at {reach:.2f}x on this device")
    return session


def run(session: Session | compared.ComparisonSession) -> Sweep | GenerationSweep | MtebSweep | Comparison:
    """Turn the dial through ``speedup`` and measure, or compare several models; reads the test split."""
    if isinstance(session, compared.ComparisonSession):
        return compare.run(session)
    config, speedups = session.config, within_reach(session)
    assert isinstance(config, SweepConfig)
    folder, measure = Path(config.folder) / "sweep", config.measure
    sweep: Sweep | GenerationSweep | MtebSweep
    if config.task.type == MTEB:
        sweep = score_dial(MtebScorer(session), speedups, controls=False)
    elif session.task_type.scores_continuations:
        continuations = ContinuationScorer(session)
        sweep = score_dial(continuations, speedups)
        if measure.prompts > 0:
            time_prompts(continuations, sweep, measure.prompts, measure.repeats, measure.warmup)
    else:
        examples = ExampleScorer(session)
        predictions = SweepPredictions(config.task, examples.examples[examples.headline])
        sweep = score_dial(
            examples,
            speedups,
            on_answers=lambda speedup, answers: predictions.add(speedup, answers.outputs[examples.headline]),
        )
        if measure.batches > 0:
            time_batches(examples, sweep)
        predictions.write(folder / "predictions.csv", escape=config.escape_formulas)
    sweep.report(folder)
    Trackers(tuple(config.report_to), Path(config.folder)).report("sweep", tracked_rows(sweep))
    return sweep


def tracked_rows(sweep: Sweep | GenerationSweep | MtebSweep) -> list[tuple[int, dict[str, float]]]:
    """What trackers get of a sweep: for each row the speedup in percent, which is its step, and its numbers.

    ``ms`` is the median of a batch, or the time to a prompt's first token.
    """
    return [(round(100 * row.speedup), row.tracked(sweep.metric)) for row in sweep.rows]


def within_reach(session: Session) -> list[float]:
    """The speedups of the config that the dial reaches on this device; logs the others."""
    config, dial = session.config, dial_of(session.model)
    assert isinstance(config, SweepConfig)
    reached = [speedup for speedup in config.speedup if dial.reaches(speedup)]
    if len(reached) < len(config.speedup):
        beyond = ", ".join(f"{speedup:g}" for speedup in config.speedup if speedup not in reached)
        log.warning("speedup %s left out: this dial ends at %.2fx on this device", beyond, dial.reach())
    return reached


def score_dial(
    scorer: Scorer[Answers, AnyRow, AnySweep],
    speedups: list[float],
    *,
    controls: bool = True,
    on_answers: Callable[[float, Answers], object] = lambda speedup, answers: None,
) -> AnySweep:
    """Score the full models, every speedup, and control scores at the same profiles, without the clock.

    Parameters
    ----------
    on_answers : called with the answers at speedup 1 and at each of ``speedups``
    """
    full_model = scorer.full_model()
    rows: list[AnyRow] = []
    with progress("sweep", len(speedups) + 1 + (full_model is not None)) as steps:
        own = scorer.at(1.0)
        on_answers(1.0, own)
        steps.advance(note="this checkpoint at 1x")
        plain = None
        if full_model is not None:
            plain = scorer.score(full_model)
            steps.advance(note="plain model")
        best = scorer.better(own, plain)
        for speedup in speedups:
            profile = scorer.dial.profile(speedup)
            answers = own if speedup == 1.0 else scorer.at(speedup)
            on_answers(speedup, answers)
            row = scorer.row(speedup, answers, own, best)
            for name in scorer.controls(profile) if controls else ():
                control = scorer.control(profile, name) if profile.eliminates else answers
                scorer.add_control(row, name, answers, control)
            rows.append(row)
            steps.advance(note=f"{speedup:g}x {row.metric:.4f}")
    return scorer.sweep(rows, own, plain)


@dataclass
class SweepPredictions:
    """A model's outputs on one split, by speedup.

    examples : of the headline test split
    outputs : speedup -> (examples, outputs) logits
    """

    task: TaskConfig
    examples: Dataset
    outputs: dict[float, np.ndarray] = field(default_factory=dict)

    def add(self, speedup: float, outputs: Any) -> None:
        """Keep the outputs at a speedup if they are one class or one number for each example."""
        shape = (len(self.examples), len(self.task.labels or []) or 1)
        if isinstance(outputs, np.ndarray) and outputs.shape == shape:
            self.outputs[speedup] = outputs

    def write(self, path: Path, *, escape: bool = False) -> bool:
        """One row an example: its texts, ``label``, ``prediction_2x`` and ``probability_2x`` for each speedup.

        A regression has no probabilities. Nothing is written if there are no outputs. ``escape`` as in
        :func:`latadj.utils.csv_text.csv_text`.

        Returns
        -------
        whether there was something to write
        """
        if self.task.type != "classification" or not self.outputs:
            path.unlink(missing_ok=True)  # of an earlier sweep, whose numbers are gone too
            return False
        names = self.task.labels
        frame = self.examples.select_columns([*self.task.text, "label"]).to_pandas()
        if names:
            frame["label"] = [names[value] for value in frame["label"]]
        for speedup, outputs in sorted(self.outputs.items()):
            if names:
                frame[f"prediction_{speedup:g}x"] = [names[place] for place in outputs.argmax(axis=1)]
                frame[f"probability_{speedup:g}x"] = softmax(outputs, axis=-1).max(axis=1).round(6)
            else:
                frame[f"prediction_{speedup:g}x"] = outputs[:, 0]
        write_text(path, frame_csv(frame, escape=escape))
        return True
