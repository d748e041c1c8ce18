"""What every scorer of a test split has in common: it runs models and makes a sweep's rows of their answers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.commands.common.session import Session, as_dict
from latadj.config import EvalConfig, SweepConfig
from latadj.config.fields import as_list
from latadj.devices.environment import environment
from latadj.elimination.attach import at_profile, dial_of
from latadj.elimination.cost import flops_speedup, schedule
from latadj.elimination.dial import Dial
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.profiles import Profile
from latadj.kernels.lowering import kernel_of
from latadj.reporting.results.generation import GenerationRow, GenerationSweep
from latadj.reporting.results.sweep import Row, Sweep

Answers = TypeVar("Answers")
AnyRow = TypeVar("AnyRow", Row, GenerationRow)
AnySweep = TypeVar("AnySweep", Sweep, GenerationSweep)


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
        counts = schedule(profile.keep, self.lengths, dial.reads, self.protected).sum(axis=1)
        return {
            "speedup": speedup,
            "keep": [float(count / counts[0]) for count in counts[1:]],
            "profile": list(profile.keep),
            "profile_type": dial.profile_type,
            "flops_speedup": flops_speedup(dial.shapes, profile.keep, self.lengths, dial.reads, self.protected),
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
            "config": as_dict(config),
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
