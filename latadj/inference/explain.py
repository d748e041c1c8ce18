"""Reads one text with a classifier at several speedups: its words, which tokens survive each layer, and the answers."""

import logging
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from latadj.elimination.attach import at_profile, attached, dial_of
from latadj.elimination.cost import POOLED, full_flops, layer_flops
from latadj.elimination.profiles import Profile
from latadj.elimination.survivors import Survivors
from latadj.tasks.encoding.batches import MODEL_INPUTS, shortened

log = logging.getLogger("latadj")
# A word, with marks inside it (don't, co-op, 3.5); one sign of a script that writes no spaces; or any one mark.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|(?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])\w)+"
    r"(?:['’.,\-](?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])\w)+)*|[^\w\s]"
)


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

    keep, short_length : the profile
    depth : layers that each word leaves alive; of the words in their order
    acc : for each layer the share of each word in the layer's ACC; 0 once it is eliminated
    left : tokens that leave each layer
    saved : share of each layer's FLOPs in the plain model that is not computed
    flops_speedup : of this text, over the plain model
    outputs : probability of each label, or the one value of a regression
    """

    speedup: float
    keep: tuple[float, ...]
    short_length: float
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
    selected : place of the reading to show
    """

    model: str
    task: str | None
    labels: tuple[str, ...]
    words: tuple[Word, ...]
    tokens: int
    pooled: int | None
    target: str
    readings: tuple[Reading, ...]
    selected: int

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

    def answer_text(self, reading: Reading) -> str:
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


@dataclass(frozen=True)
class Text:
    """An encoded text, or pair of texts, and its words."""

    inputs: dict[str, Tensor]
    words: tuple[Word, ...]

    @property
    def tokens(self) -> int:
        return self.inputs["input_ids"].shape[1]


def encode_text(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, limit: int) -> Text:
    """A text, or a pair, as a model is fed it, cut to ``limit`` tokens.

    Raises
    ------
    ValueError
        if the tokenizer cannot say where its pieces stand, or nothing of the text is left.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not tell where its word pieces stand; a fast tokenizer does")
    whole, texts = texts, [shortened(text, tokenizer, limit) for text in texts]
    if any(len(text) < len(before) for text, before in zip(texts, whole, strict=True)):
        lengths = " and ".join(f"{len(text):,}" for text in texts)
        log.warning("the model reads %d tokens: of the text only %s characters are looked at", limit, lengths)
    encoding = tokenizer(*texts, truncation=True, max_length=limit, return_offsets_mapping=True, verbose=False)
    words = words_of(texts, encoding, tokenizer)
    if not any(word.pieces and not word.special for word in words):
        raise ValueError("there is no word in this text that the model can read")
    inputs = {name: torch.tensor([encoding[name]]) for name in MODEL_INPUTS if name in encoding}
    return Text(inputs, tuple(words))


def words_of(texts: Sequence[str], encoding: BatchEncoding, tokenizer: PreTrainedTokenizerBase) -> list[Word]:
    """The words of the texts and the special tokens, in the order in which the model reads them.

    A piece belongs to every word that it overlaps, and so has an owner if any word was read; a word of which no
    piece was read has none.
    """
    belongs, offsets = encoding.sequence_ids(0), encoding["offset_mapping"]
    names = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    placed = [
        (float(column), Word(names[column], " ", (column,), special=True))
        for column, part in enumerate(belongs)
        if part is None
    ]
    for part, text in enumerate(texts):
        columns = [column for column, owner in enumerate(belongs) if owner == part]
        starts, ends = [offsets[column][0] for column in columns], [offsets[column][1] for column in columns]
        end, free, place, own = 0, 0, float(columns[0] if columns else len(belongs)), []
        for match in _WORD.finditer(text):
            first, stop = bisect_right(ends, match.start()), bisect_left(starts, match.end())
            # A piece that is a blank alone belongs to the word behind it.
            pieces = tuple(columns[min(first, free) : stop]) if first < stop else ()
            free = max(free, stop)
            # A word that was cut off stands behind the last that was read.
            place = float(pieces[0]) if pieces else place + 1e-6
            own.append((place, Word(match[0], text[end : match.start()], pieces, part=part)))
            end = match.end()
        placed += _with_the_rest(own, columns[free:])
    words = [word for _, word in sorted(placed, key=lambda pair: pair[0])]
    return [
        replace(word, gap=word.gap or " ") if before.special or before.part != word.part else word
        for before, word in zip([Word("", "", ()), *words], words, strict=False)
    ]


def _with_the_rest(own: list[tuple[float, Word]], rest: list[int]) -> list[tuple[float, Word]]:
    """The words of a text, blanks at its end given to the last that was read."""
    last = max((number for number, (_, word) in enumerate(own) if word.pieces), default=None)
    if last is not None and rest:
        place, word = own[last]
        own[last] = (place, replace(word, pieces=(*word.pieces, *rest)))
    return own


def read(model: PreTrainedModel, text: Text, speedup: float) -> Reading:
    """Run a text at one position of the model's dial."""
    dial, inputs = dial_of(model), {name: tensor.to(model.device) for name, tensor in text.inputs.items()}
    profile = dial.profile(speedup)
    leaving: dict[int, Survivors] = {}
    with torch.inference_mode(), at_profile(model, profile, survivor_observer=leaving.__setitem__):
        logits = model(**inputs).logits[0].float().cpu()
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
    regression = model.config.num_labels == 1
    return Reading(
        speedup=speedup,
        keep=profile.keep,
        short_length=profile.short_length,
        depth=tuple(depth_of(word.pieces, alive) for word in text.words),
        acc=_contributions(model, text, inputs, profile, alive),
        left=tuple(map(len, alive)),
        saved=tuple((1 - spent / plain).tolist()),
        flops_speedup=float(full[0] / spent.sum()),
        outputs=tuple((logits if regression else logits.softmax(-1)).tolist()),
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
) -> tuple[tuple[float, ...], ...]:
    """For each layer the share of each word's pieces in its ACC."""
    # A pass of its own: an observed one computes the last layer whole, and so rounds otherwise than one that serves.
    shares: list[tuple[float, ...]] = []

    def observe(layer: int, scores: Tensor, real: Tensor | None, lengths: Tensor) -> None:
        entering = sorted(alive[layer - 1]) if layer else range(text.tokens)
        share = dict(zip(entering, scores[0].tolist(), strict=True))
        shares.append(tuple(sum(share.get(piece, 0.0) for piece in word.pieces) for word in text.words))

    with torch.inference_mode(), at_profile(model, profile, score_observer=observe):
        model(**inputs)
    return tuple(shares)
