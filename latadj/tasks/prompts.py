"""Examples of a task as prompts: templates, the shots, token ids, and which of them belong to which region."""

import logging
import random
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from latadj.config import PromptConfig, TaskConfig
from latadj.tasks.encoding.batches import most_characters

log = logging.getLogger("latadj")
REGIONS = ("instruction", "shots", "query")
SHORTEST_QUERY = 32  # tokens that must be left for the text to classify


def label_words(task: TaskConfig) -> list[str]:
    """The words that stand for a task's labels."""
    return list(task.label_words or task.labels or [])


class _Fields(Formatter):
    """Fills a template; a field's name is a column's, whatever signs are in it, and no attribute of anything."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        return kwargs[field_name], field_name


_FIELDS = _Fields()


def fill(template: str, task: TaskConfig, example: Mapping[str, str] | None = None, label: int | None = None) -> str:
    """A template with its fields filled.

    Parameters
    ----------
    example : text columns; None in an instruction
    label : class number, for the field ``label``
    """
    words = label_words(task)
    values = {
        "description": task.description,
        "answer": task.answer,
        "label_words": " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}",
    }
    if example is not None:
        columns = {name: example[name] for name in task.text}
        values |= {**columns, "input": _FIELDS.vformat(task.input_template(), (), columns)}
    if label is not None:
        values["label"] = words[label]
    return _FIELDS.vformat(template, (), values)


def draw(train: Dataset, count: int, seed: int) -> Dataset:
    """Training examples in rounds of one for each label, in an order that the seed decides.

    The first ones of a longer draw are those of a shorter one. A label whose examples are used up is passed over.

    Raises
    ------
    ValueError
        if there are fewer than ``count`` training examples.
    """
    if count > len(train):
        raise ValueError(f"{count} examples to show or to calibrate on, but the training split has {len(train)}")
    rng = random.Random(seed)
    labels = np.asarray(train["label"])
    by_label = {int(label): np.flatnonzero(labels == label).tolist() for label in np.unique(labels)}
    waiting = {label: rng.sample(places, len(places)) for label, places in by_label.items()}
    chosen: list[int] = []
    while len(chosen) < count:
        left = [label for label, places in waiting.items() if places]
        chosen += [waiting[label].pop() for label in rng.sample(left, len(left))]
    return train.select(chosen[:count])


class Prompts:
    """Makes prompts of a task's examples; the instruction and the shots are the same for all.

    Parameters
    ----------
    train : the training split, from which the shots are drawn by ``seed``, as many of each label
    context : tokens that the model can take
    encoder_decoder : whether label words are the decoder's, and do not go on from the prompt's last token

    Attributes
    ----------
    answers : token ids of each label word, as they would follow the prompt
    prior : training examples, none of them shown, over which ``prompt.calibrate`` takes its mean
    limit : most tokens of a prompt: what stands in every prompt and ``task.max_length``, inside the context

    Raises
    ------
    ValueError
        if the prompt does not suit the task or the tokenizer, or its shots do not fit the context.
    """

    def __init__(
        self,
        prompt: PromptConfig,
        task: TaskConfig,
        train: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        *,
        context: int,
        encoder_decoder: bool = False,
        seed: int = 0,
    ) -> None:
        if problems := prompt.problems_for(task):
            raise ValueError("; ".join(problems))
        if not tokenizer.is_fast:
            raise ValueError(f"prompts need a fast tokenizer, which {type(tokenizer).__name__} is not")
        self.prompt, self.task, self.tokenizer = prompt, task, tokenizer
        self.answers = self._answers(encoder_decoder)
        drawn = draw(train, prompt.shots + prompt.calibrate, seed)
        self.prior = drawn.select(list(range(prompt.shots, len(drawn))))
        self.instruction = fill(prompt.instruction, task)
        shown = [
            fill(prompt.shot, task, self._cut(row, task.max_length), row["label"])
            for row in drawn.select(list(range(prompt.shots))).to_list()
        ]
        self._room = context - max(len(answer) for answer in self.answers)
        self._check_room(shown, context)
        self.shots = "".join(shown)
        self.limit = min(self._room, self._fixed(self.shots) + task.max_length)

    def encode(self, examples: Dataset) -> Dataset:
        """Prompts as token ids; a text that is too long is cut, never the template.

        Columns out: ``input_ids``, ``attention_mask``, ``regions`` (for each region that is not empty its name and
        its tokens, from ``start`` to before ``stop``), ``labels`` (class numbers), ``length`` (tokens).
        """

        def one(row: dict[str, Any]) -> dict[str, Any]:
            encoded = self._encode(row)
            return {**encoded, "labels": row["label"], "length": len(encoded["input_ids"])}

        return examples.map(one, remove_columns=examples.column_names, load_from_cache_file=False)

    def _encode(self, example: Mapping[str, str]) -> dict[str, Any]:
        """One prompt's token ids, mask and regions."""
        before = self.instruction + self.shots
        room = min(self.task.max_length, self.limit)
        while True:
            query = fill(self.prompt.query, self.task, self._cut(example, room))
            encoded = self.tokenizer(before + query, return_offsets_mapping=True)
            excess = len(encoded["input_ids"]) - self.limit
            if excess <= 0 or room == 0:
                break
            room = max(room - excess, 0)
        # A special token has no place in the text: it counts to what stands before it.
        starts = np.maximum.accumulate([start for start, _ in encoded["offset_mapping"]])
        ends = np.cumsum([len(self.instruction), len(self.shots), len(query)])
        stops = [*np.searchsorted(starts, ends[:-1]).tolist(), len(starts)]
        regions = [
            {"name": name, "start": start, "stop": stop}
            for name, start, stop in zip(REGIONS, [0, *stops[:-1]], stops, strict=True)
            if stop > start
        ]
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "regions": regions}

    def _cut(self, example: Mapping[str, str], most: int) -> dict[str, str]:
        """The example's texts, the longest of them cut until they have at most ``most`` tokens together."""
        texts = {name: example[name][: most_characters(most)] for name in self.task.text}
        encoded = self.tokenizer(list(texts.values()), add_special_tokens=False, return_offsets_mapping=True)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        kept = _shares(lengths, most)
        return {
            name: text if keep == length else text[: offsets[keep - 1][1] if keep else 0]
            for (name, text), keep, length, offsets in zip(
                texts.items(), kept, lengths, encoded["offset_mapping"], strict=True
            )
        }

    def _answers(self, encoder_decoder: bool) -> list[list[int]]:
        words = label_words(self.task)
        if encoder_decoder:
            return [self._ids(word) for word in words]
        # A label word's tokens depend on what stands before it.
        end = fill(self.prompt.query, self.task, dict.fromkeys(self.task.text, ""))
        before = self._ids(end)
        whole = [self._ids(end + ("" if end[-1:].isspace() else " ") + word) for word in words]
        if not all(ids[: len(before)] == before and len(ids) > len(before) for ids in whole):
            raise ValueError(
                f"prompt.query ends in {end[-12:]!r}, which runs into one token with a label word: end it before "
                "the space, such as in 'Answer:'"
            )
        return [ids[len(before) :] for ids in whole]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _fixed(self, shots: str) -> int:
        """Tokens of a prompt whose example is empty."""
        query = fill(self.prompt.query, self.task, dict.fromkeys(self.task.text, ""))
        return len(self.tokenizer(self.instruction + shots + query)["input_ids"])

    def _check_room(self, shown: Sequence[str], context: int) -> None:
        need = min(self.task.max_length, SHORTEST_QUERY)

        def fits(count: int) -> bool:
            return self._fixed("".join(shown[:count])) + need <= self._room

        if fits(len(shown)):
            return
        fitting = max((count for count in range(len(shown)) if fits(count)), default=None)
        if fitting is None:
            raise ValueError(
                f"prompt={self.prompt.name}: its text takes {self._fixed('')} tokens, of {context} that the model has"
            )
        raise ValueError(
            f"prompt.shots={len(shown)}: they take {self._fixed(''.join(shown))} tokens, of {context} that the model "
            f"has; {fitting} would fit"
        )


def _shares(lengths: Sequence[int], most: int) -> list[int]:
    """What each length is cut to so that their sum is at most ``most``: the longest first."""
    kept = list(lengths)
    left = most
    for place, index in enumerate(np.argsort(lengths, kind="stable").tolist()):
        # The shortest takes what it needs, up to an equal share of what is left.
        kept[index] = min(lengths[index], left // (len(lengths) - place))
        left -= kept[index]
    return kept
