"""Scores continuations that a language model predicts."""

from functools import cached_property

import numpy as np
from transformers import PreTrainedModel

from latadj.commands.common.served_models import fine_tuned_model, plain_model
from latadj.commands.common.session import Session
from latadj.commands.evaluation.length_groups import length_groups
from latadj.commands.evaluation.scorers import Scorer, seeded_profile
from latadj.elimination.profiles import Profile
from latadj.reporting.results.by_length import LengthGroup
from latadj.reporting.results.dial_sweep import CONTROLS
from latadj.reporting.results.generation import GenerationRow, GenerationSweep
from latadj.tasks.metrics.intervals import ScoredPerplexity, score_perplexity
from latadj.tasks.outputs.likelihood import likelihoods, rows_to_score


class ContinuationScorer(Scorer[np.ndarray, GenerationRow, GenerationSweep]):
    """Scores continuations of running text.

    Answers are (examples,) negative log-likelihoods in nats. Running text has one test split.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.encoded = self.tests[self.headline]
        self.rows = rows_to_score(self.encoded)
        self.tokens = self.task_type.references(self.encoded)
        self.documents, self.lengths = np.asarray(self.encoded["document"]), np.asarray(self.encoded["length"])

    @cached_property
    def plain(self) -> PreTrainedModel:
        """The checkpoint as transformers runs it."""
        return plain_model(self.session)

    def score(self, model: PreTrainedModel) -> np.ndarray:
        return likelihoods(model, self.rows, batch_size=self.task_type.task.batch_size).nll

    def at(self, speedup: float) -> np.ndarray:
        with seeded_profile(self.session, self.dial.profile(speedup)):
            return self.score(self.session.model)

    def full_model(self) -> PreTrainedModel:
        return fine_tuned_model(self.session) or self.plain

    def better(self, own: np.ndarray, plain: np.ndarray | None) -> np.ndarray:
        return own if plain is None or own.sum() <= plain.sum() else plain

    def compare(self, answers: np.ndarray, reference: np.ndarray) -> ScoredPerplexity:
        """Perplexity, and its increase over a reference's."""
        return score_perplexity(answers, reference, self.tokens, self.documents, self.session.config.seed)

    def row(self, speedup: float, answers: np.ndarray, own: np.ndarray, best: np.ndarray) -> GenerationRow:
        scored = self.compare(answers, best)
        return GenerationRow(
            **self.position(speedup),
            metric=scored.metric,
            metric_ci=scored.metric_ci,
            increase=scored.increase,
            increase_ci=scored.increase_ci,
            by_length=self.by_length(answers, best),
        )

    def by_length(self, answers: np.ndarray, best: np.ndarray) -> list[LengthGroup]:
        """Perplexity and its increase for groups of prompts of like length."""
        found = []
        for group in length_groups(self.lengths):
            cut, full, tokens, documents = (one[group.places] for one in (answers, best, self.tokens, self.documents))
            scored = score_perplexity(cut, full, tokens, documents, self.session.config.seed)
            size = (group.least, group.most, len(group.places))
            found.append(LengthGroup(group.name, *size, scored.metric, scored.increase, scored.increase_ci))
        return found

    def controls(self, profile: Profile) -> tuple[str, ...]:
        return CONTROLS

    def add_control(self, row: GenerationRow, name: str, answers: np.ndarray, control: np.ndarray) -> None:
        scored, over = self.compare(control, answers), self.compare(answers, control)
        row.controls[name], row.controls_ci[name] = scored.metric, scored.metric_ci
        row.over_controls[name], row.over_controls_ci[name] = over.increase, over.increase_ci

    def sweep(self, rows: list[GenerationRow], own: np.ndarray, plain: np.ndarray | None) -> GenerationSweep:
        assert plain is not None
        sweep = GenerationSweep(
            **self.surroundings(rows),
            baseline_metric=self.compare(own, own).metric,
            plain_metric=self.compare(plain, plain).metric,
            test_examples=len(self.rows),
            documents=len(np.unique(self.documents)),
            prompt_length=float(self.lengths.mean()),
            continuation_length=float(self.tokens.mean()),
        )
        sweep.environment["attention"] = self.plain.config._attn_implementation
        return sweep
