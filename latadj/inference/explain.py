"""Reads one text with a classifier at several speedups, and notes who survives and what is answered."""

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
from latadj.inference.explanation import Reading, Word, depth_of
from latadj.tasks.encoding.batches import MODEL_INPUTS

# A word, with marks inside it (don't, co-op, 3.5); one sign of a script that writes no spaces; or any one mark.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|(?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])\w)+"
    r"(?:['’.,\-](?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])\w)+)*|[^\w\s]"
)


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
    found = [
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
        found += _with_the_rest(own, columns[free:])
    words = [word for _, word in sorted(found, key=lambda pair: pair[0])]
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
    plain = layer_flops(dial.shapes, [1.0] * dial.layers, lengths, reads="all")[:, 0]
    spent = layer_flops(dial.shapes, profile.keep, lengths, dial.reads)[:, 0]
    regression = model.config.num_labels == 1
    return Reading(
        speedup=speedup,
        keep=profile.keep,
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
    found: list[tuple[float, ...]] = []

    def observe(layer: int, scores: Tensor, real: Tensor | None, lengths: Tensor) -> None:
        entering = sorted(alive[layer - 1]) if layer else range(text.tokens)
        share = dict(zip(entering, scores[0].tolist(), strict=True))
        found.append(tuple(sum(share.get(piece, 0.0) for piece in word.pieces) for word in text.words))

    with torch.inference_mode(), at_profile(model, profile, score_observer=observe):
        model(**inputs)
    return tuple(found)
