"""Scores the answers to labelled examples: of a head, or of a prompt's label words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from latadj.commands.common.served_model import fine_tuned_model
from latadj.commands.common.session import Session
from latadj.commands.evaluation.scoring import Scorer
from latadj.elimination.attach import at_speedup
from latadj.elimination.profiles import Profile
from latadj.reporting.results.sweep import CONTROLS, Row, Sweep
from latadj.tasks.encoding.batches import protected_counts, rows_of
from latadj.tasks.metrics.intervals import score
from latadj.tasks.outputs.predict import predict


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
        self.labels = self.task_type.references(self.examples[self.headline])
        self.lengths = np.array([len(row["input_ids"]) for row in self.rows[self.headline]])
        self.protected = protected_counts(self.rows[self.headline])

    def score(self, model: PreTrainedModel) -> ExampleAnswers:
        session = self.session
        session.tune_threshold(model)
        outputs = {
            name: predict(model, session.tokenizer, rows, outputs=session.outputs) for name, rows in self.rows.items()
        }
        predictions = {
            name: self.task_type.predictions(part, self.tests[name], self.examples[name])
            for name, part in outputs.items()
        }
        return ExampleAnswers(outputs, predictions, self.task_type.thresholds)

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
        )

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
