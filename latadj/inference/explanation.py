"""What a classifier read of one text at each speedup: the words, who survives which layer, and the answers."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word or a mark of the text, or a special token of the tokenizer.

    gap : what stands before it in the text
    pieces : columns of its word pieces; none where the text was cut before it
    special : whether the tokenizer added it
    part : 0 in the first text, 1 in the second
    """

    text: str
    gap: str
    pieces: tuple[int, ...]
    special: bool = False
    part: int = 0

    @property
    def counts(self) -> bool:
        """Whether it is a word that was read, and no mark or special token."""
        return bool(self.pieces) and not self.special and any(sign.isalnum() for sign in self.text)


@dataclass(frozen=True)
class Reading:
    """One pass at one speedup.

    keep : keep ratio of each layer
    depth : layers that each word leaves alive; of the words in their order
    acc : for each layer the share of each word in the layer's ACC; 0 once it is eliminated
    left : tokens that leave each layer
    saved : share of each layer's FLOPs in the plain model that is not computed
    flops_speedup : of this text, over the plain model
    outputs : probability of each label, or the one value of a regression
    """

    speedup: float
    keep: tuple[float, ...]
    depth: tuple[int, ...]
    acc: tuple[tuple[float, ...], ...]
    left: tuple[int, ...]
    saved: tuple[float, ...]
    flops_speedup: float
    outputs: tuple[float, ...]

    @property
    def answer(self) -> int:
        """The label that wins."""
        return max(range(len(self.outputs)), key=self.outputs.__getitem__)


@dataclass(frozen=True)
class Explanation:
    """A text at several speedups, 1 first.

    labels : none of a regression
    tokens : tokens that enter the model
    pooled : the column that the head reads, and so all that leaves the last layer; None where it reads more
    target : what the dial is marked in, ``latency`` or ``flops``
    asked : which of the readings was asked for
    """

    model: str
    task: str | None
    labels: tuple[str, ...]
    words: tuple[Word, ...]
    tokens: int
    pooled: int | None
    target: str
    readings: tuple[Reading, ...]
    asked: int

    @property
    def layers(self) -> int:
        return len(self.readings[0].left)

    @property
    def cut(self) -> int:
        """Words that the model never saw, since the text was cut before them."""
        return sum(not word.pieces and any(sign.isalnum() for sign in word.text) for word in self.words)

    def words_left(self, reading: Reading) -> list[int]:
        """Words, marks and special tokens aside, that leave each layer."""
        real = [depth for word, depth in zip(self.words, reading.depth, strict=True) if word.counts]
        return [sum(depth > layer for depth in real) for layer in range(self.layers)]

    @property
    def words_read(self) -> int:
        """Words, marks and special tokens aside, that enter the model."""
        return sum(word.counts for word in self.words)

    def said(self, reading: Reading) -> str:
        """The answer in words."""
        if not self.labels:
            return f"{reading.outputs[0]:.3f}"
        return f"{self.labels[reading.answer]} {100 * reading.outputs[reading.answer]:.1f}%"

    def agrees(self, reading: Reading) -> bool:
        """Whether the answer is that of speedup 1; a regression's always is one."""
        return not self.labels or reading.answer == self.readings[0].answer


def depth_of(pieces: Sequence[int], alive: Sequence[frozenset[int]]) -> int:
    """Layers that a word leaves alive: as many as any of its pieces does.

    Parameters
    ----------
    alive : for each layer the columns that leave it
    """
    return max((sum(piece in columns for columns in alive) for piece in pieces), default=0)
