"""Scorers of a test split: they run models and make a sweep's rows of their answers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.commands.common.served_models import fine_tuned_model, plain_model
from latadj.commands.common.session import Session
from latadj.commands.evaluation.length_groups import example_lengths, length_groups
from latadj.config import EvalConfig, SweepConfig
from latadj.config.fields import as_list
from latadj.devices.environment import environment
from latadj.elimination.attach import dial_of, is_attached
from latadj.elimination.cost import flops_speedup, schedule, width_of
from latadj.elimination.current_setting import at_profile, at_speedup
from latadj.elimination.dial import Dial
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.profiles import Profile
from latadj.kernels.lowering import kernel_of
from latadj.reporting.results.by_length import LengthGroup
from latadj.reporting.results.dial_sweep import CONTROLS
from latadj.reporting.results.generation import GenerationRow, GenerationSweep
from latadj.reporting.results.mteb import MtebRow, MtebSweep
from latadj.reporting.results.sweep import Row, Sweep
from latadj.tasks.encoding.batches import protected_counts, rows_of
from latadj.tasks.metrics.intervals import score
from latadj.tasks.outputs.predict import predict

Answers = TypeVar("Answers")
AnyRow = TypeVar("AnyRow", Row, GenerationRow, MtebRow)
AnySweep = TypeVar("AnySweep", Sweep, GenerationSweep, MtebSweep)


class Scorer(ABC, Generic[Answers, AnyRow, AnySweep]):
    """Runs models on the same test split and makes a sweep's rows of their answers.

    Attributes
    ----------
    tests : encoded test splits by name; ``headline`` is the name of the first, which rows are about
    lengths : (rows,) tokens of the headline split's texts or prompts
    protected : (rows,) tokens of them that are never eliminated; 0 if there are none
    """

    lengths: np.ndarray
    protected: np.ndarray | int = 0

    def __init__(self, session: Session) -> None:
        self.session, self.task_type = session, session.task_type
        self.examples = session.splits.tests
        self.tests = {name: session.encoded(examples) for name, examples in self.examples.items()}
        self.headline = next(iter(self.tests))

    @property
    def dial(self) -> Dial:
        """The session's dial, in this device's time if that was measured."""
        return dial_of(self.session.model)

    @abstractmethod
    def score(self, model: PreTrainedModel) -> Answers:
        """Answers of a model at its present speedup."""

    @abstractmethod
    def at(self, speedup: float) -> Answers:
        """Answers of the session's model at a speedup."""

    def control(self, profile: Profile, name: str) -> Answers:
        """Answers of the session's model at a profile, with a control's score in place of the dial's."""
        with seeded_profile(self.session, profile, name):
            return self.score(self.session.model)

    @abstractmethod
    def full_model(self) -> PreTrainedModel | None:
        """The plain model that losses count from if it is better than the checkpoint at speedup 1."""

    @abstractmethod
    def better(self, own: Answers, plain: Answers | None) -> Answers:
        """The better of the two full models' answers."""

    @abstractmethod
    def row(self, speedup: float, answers: Answers, own: Answers, best: Answers) -> AnyRow:
        """One position of the dial, without its clock.

        Parameters
        ----------
        own, best : answers at speedup 1, and those of the better full model
        """

    @abstractmethod
    def controls(self, profile: Profile) -> tuple[str, ...]:
        """Scores that the dial's has to beat at a profile."""

    @abstractmethod
    def add_control(self, row: AnyRow, name: str, answers: Answers, control: Answers) -> None:
        """Note in a row what a control's score gives at the same profile."""

    @abstractmethod
    def sweep(self, rows: list[AnyRow], own: Answers, plain: Answers | None) -> AnySweep:
        """The result, without its clock."""

    def position(self, speedup: float) -> dict[str, Any]:
        """The fields of a row that say what the dial does at a speedup."""
        dial = self.dial
        profile = dial.profile(speedup)
        counts = schedule(profile, self.lengths, dial.reads, self.protected).sum(axis=1)
        return {
            "speedup": speedup,
            "keep": [float(count / counts[0]) for count in counts[1:]],
            "profile": list(profile.keep),
            "short_length": profile.short_length,
            "whole_length": profile.whole_length,
            "level": profile.level,
            "width": width_of(dial.shapes, profile.level),
            "profile_type": dial.profile_type,
            "flops_speedup": flops_speedup(dial.shapes, profile, self.lengths, dial.reads, self.protected),
            "predicted": dial.predicted(profile) if dial.latency else None,
        }

    def surroundings(self, rows: list[AnyRow]) -> dict[str, Any]:
        """The fields of a sweep that do not depend on how its rows are scored."""
        session, config, dial, served = self.session, self.session.config, self.dial, kernel_of(self.session.model)
        assert isinstance(config, (SweepConfig, EvalConfig))
        reached = [row.speedup for row in rows]
        return {
            "model": config.model.name,
            "task": config.task.name,
            "metric": config.task.metric,
            "rows": rows,
            "target": dial.target,
            "unreachable": [speedup for speedup in as_list(config.speedup) if speedup not in reached],
            "reach": dial.reach(),
            "environment": {**environment(session.device, served.precision), "kernel": served.kernel},
            "config": asdict(config),
        }


@contextmanager
def seeded_profile(session: Session, profile: Profile, control: str | None = None) -> Iterator[None]:
    """The session's model at a profile, inside a ``with`` block, with the dial's own score or a control's."""
    model = session.model
    # A control chooses all tokens but the first ones, which no score can do without.
    window = ObservationWindow(sink_tokens=dial_of(model).window.sink_tokens) if control else None
    torch.manual_seed(session.config.seed)  # the random control draws
    with at_profile(model, profile, score=control, window=window):
        yield


@dataclass
class ExampleAnswers:
    """A model's answers to every test split, by name.

    outputs : as `latadj.tasks.outputs.predict.predict` gives them
    thresholds : that the predictions use
    """

    outputs: dict[str, Any]
    predictions: dict[str, Any]
    thresholds: dict[str, float]


class ExampleScorer(Scorer[ExampleAnswers, Row, Sweep]):
    """Scores the answers of a head, or of a prompt's label words, to labelled examples."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.rows = {name: rows_of(encoded) for name, encoded in self.tests.items()}
        if self.task_type.refers_to_full_model:
            full = self.full_model() or plain_model(session)
            self.examples = {name: session.with_references(part, full) for name, part in self.examples.items()}
        self.labels = self.task_type.references(self.examples[self.headline])
        self.lengths = np.array([len(row["input_ids"]) for row in self.timed])
        self.protected = protected_counts(self.timed)

    @property
    def timed(self) -> list[dict[str, Any]]:
        """The rows of the headline split that run at the dial's speedup."""
        first, _ = self.task_type.rows_at(self.examples[self.headline]) or (0, 1.0)
        return self.rows[self.headline][first:]

    def score(self, model: PreTrainedModel) -> ExampleAnswers:
        session = self.session
        session.tune_threshold(model)
        outputs = {name: self._outputs(model, name) for name in self.rows}
        predictions = {
            name: self.task_type.predictions(part, self.tests[name], self.examples[name])
            for name, part in outputs.items()
        }
        return ExampleAnswers(outputs, predictions, self.task_type.thresholds)

    def _outputs(self, model: PreTrainedModel, name: str) -> Any:
        """A model's outputs for the rows of a test split, of which the first may run at a speedup of their own."""
        rows, session = self.rows[name], self.session
        first, own = self.task_type.rows_at(self.examples[name]) or (0, 1.0)
        if not first or not is_attached(model):
            return predict(model, session.tokenizer, rows, outputs=session.outputs)
        with at_speedup(model, own):
            before = predict(model, session.tokenizer, rows[:first], outputs=session.outputs)
        return np.concatenate([before, predict(model, session.tokenizer, rows[first:], outputs=session.outputs)])

    def at(self, speedup: float) -> ExampleAnswers:
        with at_speedup(self.session.model, speedup):
            return self.score(self.session.model)

    def full_model(self) -> PreTrainedModel | None:
        return fine_tuned_model(self.session)

    def better(self, own: ExampleAnswers, plain: ExampleAnswers | None) -> ExampleAnswers:
        return plain if plain is not None and self.metric(plain) > self.metric(own) else own

    def metric(self, answers: ExampleAnswers) -> float:
        """The task's metric on the headline split."""
        predictions = answers.predictions[self.headline]
        return self.task_type.scores(predictions, self.examples[self.headline])[self.task_type.task.metric]

    def scores(self, answers: ExampleAnswers) -> dict[str, dict[str, float]]:
        """All scores of every test split."""
        return {name: self.task_type.scores(part, self.examples[name]) for name, part in answers.predictions.items()}

    def row(self, speedup: float, answers: ExampleAnswers, own: ExampleAnswers, best: ExampleAnswers) -> Row:
        predictions, own_predictions, reference = (one.predictions[self.headline] for one in (answers, own, best))
        scored = score(self.task_type.task.metric, predictions, reference, self.labels, self.session.config.seed)
        return Row(
            **self.position(speedup),
            metric=scored.metric,
            metric_ci=scored.metric_ci,
            scores=self.scores(answers),
            drop=scored.drop,
            drop_ci=scored.drop_ci,
            agreement=self.task_type.agreement(predictions, own_predictions),
            thresholds=answers.thresholds,
            by_length=self.by_length(answers, own, best),
        )

    def by_length(self, answers: ExampleAnswers, own: ExampleAnswers, best: ExampleAnswers) -> list[LengthGroup]:
        """Metric, loss and agreement of groups of like length; parameters as of :meth:`row`."""
        encoded, examples = self.tests[self.headline], self.examples[self.headline]
        owners = encoded["example"] if "example" in encoded.column_names else None
        found: list[LengthGroup] = []
        if not self.task_type.by_length:
            return found
        for group in length_groups(example_lengths(self.lengths, owners, len(examples))):
            cut, own_part, best_part, labels = (
                _select(part, group.places)
                for part in (*(one.predictions[self.headline] for one in (answers, own, best)), self.labels)
            )
            scored = score(self.task_type.task.metric, cut, best_part, labels, self.session.config.seed)
            agreement = self.task_type.agreement(cut, own_part)
            size = (group.least, group.most, len(group.places))
            found.append(LengthGroup(group.name, *size, scored.metric, scored.drop, scored.drop_ci, agreement))
        return found

    def controls(self, profile: Profile) -> tuple[str, ...]:
        return CONTROLS if self.dial.shapes[0].causal and profile.eliminates else ()

    def add_control(self, row: Row, name: str, answers: ExampleAnswers, control: ExampleAnswers) -> None:
        row.controls[name] = self.metric(control)

    def sweep(self, rows: list[Row], own: ExampleAnswers, plain: ExampleAnswers | None) -> Sweep:
        return Sweep(
            **self.surroundings(rows),
            greater_is_better=True,
            baseline_metric=self.metric(own),
            plain_metric=None if plain is None else self.metric(plain),
            plain_scores=None if plain is None else self.scores(plain),
            test_examples=len(self.labels),
        )


def _select(values: Any, places: np.ndarray) -> Any:
    """Some of the values of an array or a list."""
    return values[places] if isinstance(values, np.ndarray) else [values[place] for place in places]
