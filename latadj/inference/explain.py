"""Reads one text at several speedups: which of its tokens survive each layer, and what is answered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.config.options.task import OUTSIDE
from latadj.elimination.attach import attached, dial_of
from latadj.elimination.cost import POOLED, full_flops, layer_flops
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.elimination.survivors import Survivors
from latadj.inference.explained_answers import ExplainedTask, Labels
from latadj.inference.explained_text import Text, Word, is_word
from latadj.tasks.outputs.answer_spans import Answer
from latadj.tasks.outputs.predict import require_numbers


@dataclass(frozen=True)
class Reading:
    """One pass at one speedup.

    keep, short_length : the profile
    depth : layers that each word leaves alive; of the words in their order
    acc : for each layer the share of each word in the layer's ACC; 0 once it is eliminated
    left : tokens that leave each layer
    saved : share of each layer's FLOPs in the plain model that is not computed
    flops_speedup : of this text, over the plain model
    outputs : probability of each label, or the one value of a regression; none of other tasks
    tags : of each word; "" of one that has none, and none at all of other tasks
    answer : to a question; None of other tasks
    answering : the words of that answer, by their places
    """

    speedup: float
    keep: tuple[float, ...]
    short_length: float
    depth: tuple[int, ...]
    acc: tuple[tuple[float, ...], ...]
    left: tuple[int, ...]
    saved: tuple[float, ...]
    flops_speedup: float
    outputs: tuple[float, ...] = ()
    tags: tuple[str, ...] = ()
    answer: Answer | None = None
    answering: tuple[int, ...] = ()

    @property
    def label(self) -> int:
        """The label that wins."""
        return max(range(len(self.outputs)), key=self.outputs.__getitem__)


@dataclass(frozen=True)
class Explanation:
    """A text at several speedups, 1 first.

    type : of the task, as in ``task.type``
    labels : none of a regression
    tokens : tokens that enter the model
    pooled : the column that the head reads, and so all that leaves the last layer; None where it reads more
    target : what the dial is marked in, ``latency`` or ``flops``
    selected : place of the reading to show
    words_beyond : words that stand so far beyond the limit that they are not among ``words``
    """

    model: str
    task: str | None
    type: str
    labels: tuple[str, ...]
    words: tuple[Word, ...]
    tokens: int
    pooled: int | None
    target: str
    readings: tuple[Reading, ...]
    selected: int
    words_beyond: int = 0

    @property
    def layers(self) -> int:
        return len(self.readings[0].left)

    @property
    def cut(self) -> int:
        """Words that the model never saw, since the text was cut before them."""
        return self.words_beyond + sum(not word.pieces and is_word(word.text) for word in self.words)

    def words_left(self, reading: Reading) -> list[int]:
        """Words, marks and special tokens aside, that leave each layer."""
        real = [depth for word, depth in zip(self.words, reading.depth, strict=True) if word.counts]
        return [sum(depth > layer for depth in real) for layer in range(self.layers)]

    @property
    def words_read(self) -> int:
        """Words, marks and special tokens aside, that enter the model."""
        return sum(word.counts for word in self.words)

    def answer_text(self, reading: Reading) -> str:
        """The answer in words."""
        if reading.answer is not None:
            return f"{reading.answer.text or 'no answer'} {100 * reading.answer.probability:.1f}%"
        if self.type == "token_classification":
            named = self.marks(reading)
            shown = [f"{word.text} {mark}" for word, mark in zip(self.words, named, strict=True) if mark]
            return ", ".join(shown) or f"every word is {OUTSIDE}"
        if not self.labels:
            return f"{reading.outputs[0]:.3f}"
        return f"{self.labels[reading.label]} {100 * reading.outputs[reading.label]:.1f}%"

    def marks(self, reading: Reading) -> list[str]:
        """What stands beside each word: its tag, all but ``O``, or "answer"; "" beside the others."""
        if reading.tags:
            return ["" if tag == OUTSIDE else tag for tag in reading.tags]
        return ["answer" if place in reading.answering else "" for place in range(len(self.words))]

    def agrees(self, reading: Reading) -> bool:
        """Whether the answer is that of speedup 1; a regression's always is one."""
        first = self.readings[0]
        if reading.answer is not None and first.answer is not None:
            return reading.answer.text == first.answer.text
        if self.type == "token_classification":
            return reading.tags == first.tags
        return not self.labels or reading.label == first.label


def depth_of(pieces: Sequence[int], alive: Sequence[frozenset[int]]) -> int:
    """Layers that a word leaves alive: as many as any of its pieces does.

    Parameters
    ----------
    alive : for each layer the columns that leave it
    """
    return max((sum(piece in columns for columns in alive) for piece in pieces), default=0)


def read(model: PreTrainedModel, text: Text, speedup: float, task: ExplainedTask | None = None) -> Reading:
    """Run a text at one position of the model's dial.

    Parameters
    ----------
    task : what is answered; None: the probability of each label

    Raises
    ------
    ValueError
        if an output is no number.
    """
    task = task or Labels(regression=model.config.num_labels == 1)
    dial = dial_of(model)
    inputs = {name: tensor.to(model.device) for name, tensor in task.inputs(text).items()}
    profile = dial.profile(speedup)
    leaving: dict[int, Survivors] = {}
    with torch.inference_mode(), at_profile(model, profile, survivor_observer=leaving.__setitem__):
        logits = task.outputs(model, inputs)[0].float().cpu()
    require_numbers(logits)
    everyone = frozenset(range(text.tokens))
    alive = [
        frozenset(leaving[layer].places()[0].tolist()) if layer in leaving else everyone
        for layer in range(len(profile.keep))
    ]
    last = pooled_column(model, text)
    if last is not None:  # what an encoder's trimmed layer computes is for that position alone
        alive[-1] = frozenset([last])
    lengths = np.array([text.tokens])
    full = full_flops(dial.shapes, lengths)
    plain = layer_flops(dial.shapes, Profile.full(dial.layers), lengths, reads="all")[:, 0]
    spent = layer_flops(dial.shapes, profile, lengths, dial.reads)[:, 0]
    return Reading(
        speedup=speedup,
        keep=profile.keep,
        short_length=profile.short_length,
        depth=tuple(depth_of(word.pieces, alive) for word in text.words),
        acc=_contributions(model, text, inputs, profile, alive, task),
        left=tuple(map(len, alive)),
        saved=tuple((1 - spent / plain).tolist()),
        flops_speedup=float(full[0] / spent.sum()),
        **task.answer(logits, text),
    )


def pooled_column(model: PreTrainedModel, text: Text) -> int | None:
    """The position that the head reads; None where it reads more than one."""
    elimination = attached(model)
    if elimination.reads != POOLED:
        return None
    return text.tokens - 1 if elimination.architecture.causal else 0


def _contributions(
    model: PreTrainedModel,
    text: Text,
    inputs: dict[str, Tensor],
    profile: Profile,
    alive: Sequence[frozenset[int]],
    task: ExplainedTask,
) -> tuple[tuple[float, ...], ...]:
    """For each layer the share of each word's pieces in its ACC."""
    # A pass of its own: an observed one computes the last layer whole, and so rounds otherwise than one that serves.
    shares: list[tuple[float, ...]] = []

    def observe(layer: int, scores: Tensor, real: Tensor | None, lengths: Tensor) -> None:
        entering = sorted(alive[layer - 1]) if layer else range(text.tokens)
        share = dict(zip(entering, scores[0].tolist(), strict=True))
        shares.append(tuple(sum(share.get(piece, 0.0) for piece in word.pieces) for word in text.words))

    with torch.inference_mode(), at_profile(model, profile, score_observer=observe):
        task.outputs(model, inputs)
    return tuple(shares)
