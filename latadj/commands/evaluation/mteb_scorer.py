"""Scores a model that embeds by a task of mteb: its data, its evaluator, its main score."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.commands.common.served_models import fine_tuned_model
from latadj.commands.common.session import Session
from latadj.commands.evaluation.scorers import Scorer
from latadj.elimination.current_setting import at_speedup
from latadj.elimination.profiles import Profile
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.reporting.results.mteb import MtebRow, MtebSweep


@dataclass
class MtebAnswers:
    """What mteb says of a model.

    main : its main score, a mean over splits and subsets
    scores : main score of each split and subset
    lengths : tokens of every text that was embedded
    seconds : of all passes
    """

    main: float
    scores: dict[str, float]
    lengths: list[int]
    seconds: float


@dataclass
class Passes:
    """Tokens of the texts that a ``SentenceTransformer`` embedded, and the seconds that it took."""

    lengths: list[int] = field(default_factory=list)
    seconds: float = 0.0


class MtebScorer(Scorer[MtebAnswers, MtebRow, MtebSweep]):
    """Has mteb score the session's model along its dial."""

    def __init__(self, session: Session) -> None:
        # There are no examples of ours, whose rows other scorers begin with.
        self.session, self.task_type = session, session.task_type
        self.mteb = import_module("mteb")
        self.task = open_task(self.mteb, session.config.task.name)

    def score(self, model: PreTrainedModel) -> MtebAnswers:
        pipeline = pipeline_of(model).to(device=self.session.device, dtype=model.dtype)
        task = self.session.config.task
        read = {} if task.dimensions is None else {"truncate_dim": task.dimensions}
        with counting(pipeline) as passes:
            found = self.mteb.evaluate(
                pipeline,
                self.task,
                cache=None,
                co2_tracker=False,
                encode_kwargs={"batch_size": task.batch_size, "show_progress_bar": False, **read},
                show_progress_bar=False,
            )
        (result,) = found.task_results
        scores = {
            split if len(subsets) == 1 else f"{split}, {subset['hf_subset']}": float(subset["main_score"])
            for split, subsets in result.scores.items()
            for subset in subsets
        }
        return MtebAnswers(float(result.get_score()), scores, passes.lengths, passes.seconds)

    def at(self, speedup: float) -> MtebAnswers:
        with at_speedup(self.session.model, speedup):
            answers = self.score(self.session.model)
        self.lengths = np.array(answers.lengths)
        return answers

    def full_model(self) -> PreTrainedModel | None:
        return fine_tuned_model(self.session)

    def better(self, own: MtebAnswers, plain: MtebAnswers | None) -> MtebAnswers:
        return plain if plain is not None and plain.main > own.main else own

    def row(self, speedup: float, answers: MtebAnswers, own: MtebAnswers, best: MtebAnswers) -> MtebRow:
        return MtebRow(
            **self.position(speedup),
            metric=answers.main,
            scores=answers.scores,
            drop=best.main - answers.main,
            seconds=answers.seconds,
            over_1x=own.seconds / answers.seconds,
        )

    def controls(self, profile: Profile) -> tuple[str, ...]:
        return ()

    def add_control(self, row: MtebRow, name: str, answers: MtebAnswers, control: MtebAnswers) -> None:
        row.controls[name] = control.main

    def sweep(self, rows: list[MtebRow], own: MtebAnswers, plain: MtebAnswers | None) -> MtebSweep:
        return MtebSweep(
            **self.surroundings(rows) | {"metric": self.task.metadata.main_score},
            baseline_metric=own.main,
            plain_metric=None if plain is None else plain.main,
            test_examples=len(own.lengths),
            mteb=self.mteb.__version__,
        )


def open_task(mteb: Any, name: str) -> Any:
    """A task of mteb with its data.

    Parameters
    ----------
    mteb : the package

    Raises
    ------
    ValueError
        if it has no task of that name, one of images or sounds, or its data cannot be had.
    """
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        reason = str(error.args[0]).removeprefix("KeyError: ")
        raise ValueError(f"task.name={name}: mteb has no such task: {reason}") from error
    if set(task.metadata.modalities) != {"text"}:
        raise ValueError(
            f"task.name={name}: it is of {', '.join(task.metadata.modalities)}, and latadj embeds text: take another"
        )
    try:
        task.load_data()
    except (OSError, RuntimeError, ValueError) as error:
        (first, *_) = str(error).splitlines() or [type(error).__name__]
        where = "neither from the hub nor from its cache"
        raise ValueError(f"task.name={name}: mteb cannot load its data, {where}: {first}") from error
    return task


@contextmanager
def counting(pipeline: Any) -> Iterator[Passes]:
    """Count what a ``SentenceTransformer`` embeds inside a ``with`` block."""
    passes, began = Passes(), [0.0]

    def begin(module: Any, inputs: Any) -> None:
        passes.lengths += inputs[0]["attention_mask"].sum(dim=1).tolist()
        began[0] = _now(inputs[0]["attention_mask"])

    def end(module: Any, inputs: Any, output: Any) -> None:
        passes.seconds += _now(output["sentence_embedding"]) - began[0]

    hooks = [pipeline[0].register_forward_pre_hook(begin), pipeline[-1].register_forward_hook(end)]
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()


def _now(tensor: torch.Tensor) -> float:
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()
