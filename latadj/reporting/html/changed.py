"""Test examples whose prediction at some speedup is not the full model's."""

import re
from dataclasses import dataclass

import pandas as pd

MOST = 50
# What became of a prediction: it was right and is wrong, was wrong and is right, or is wrong in another way.
LOST, GAINED, OTHER = "lost", "gained", "other"
CHANGES = (LOST, GAINED, OTHER)
_PREDICTION, _PROBABILITY = "prediction_", "probability_"
_COLUMN = re.compile(r"(prediction|probability)_(\d[\d.]*)x")
# Their shares of the list, where there is enough of each; what one leaves, the next takes.
_SHARES = {LOST: 0.6, GAINED: 0.3, OTHER: 0.1}


@dataclass(frozen=True)
class Answer:
    """A prediction at one speedup; ``kind`` is None where it is the full model's."""

    speedup: str
    prediction: str
    probability: float | None
    right: bool
    kind: str | None


@dataclass(frozen=True)
class Changed:
    """An example whose prediction changed.

    texts : column -> text
    answers : by rising speedup, the full model's first
    weight : how bad it is: the probability of the first changed prediction, or how far a number moved
    """

    texts: dict[str, str]
    label: str
    answers: list[Answer]
    weight: float

    @property
    def marks(self) -> str:
        """What the page's filter reads: each speedup where it changed, and how."""
        return " ".join(f"{answer.speedup}:{answer.kind}" for answer in self.answers if answer.kind)

    @property
    def kind(self) -> str:
        """What became of it at the first speedup where it changed."""
        return next(answer.kind for answer in self.answers if answer.kind is not None)


def speedups_of(frame: pd.DataFrame) -> list[str]:
    """Speedups of a predictions file, such as ``1.5``, rising."""
    matches = [match for name in map(str, frame) if (match := _COLUMN.fullmatch(name))]
    return sorted((match[2] for match in matches if match[1] == "prediction"), key=float)


def changed(frame: pd.DataFrame) -> list[Changed]:
    """All examples that changed, the most confident first; numbers of a regression by how far they moved."""
    speedups = speedups_of(frame)
    classes = f"{_PROBABILITY}{speedups[0]}x" in frame
    if missing := [at for at in speedups if classes and f"{_PROBABILITY}{at}x" not in frame]:
        raise ValueError(f"has no column {_PROBABILITY}{missing[0]}x")
    read = _classified if classes else _regressed
    columns = [name for name in map(str, frame) if name != "label" and not _COLUMN.fullmatch(name)]
    examples = []
    for record in frame.to_dict("records"):
        row = {str(name): str(value) for name, value in record.items()}
        answers, weight = read(row, speedups)
        if any(answer.kind for answer in answers):
            examples.append(Changed({name: row[name] for name in columns}, row["label"], answers, weight))
    return sorted(examples, key=lambda one: -one.weight)


def counts(examples: list[Changed]) -> dict[str, dict[str, int]]:
    """Speedup -> kind -> how many changed so there."""
    table: dict[str, dict[str, int]] = {}
    for one in examples:
        for answer in one.answers:
            row = table.setdefault(answer.speedup, dict.fromkeys(CHANGES, 0))
            if answer.kind is not None:
                row[answer.kind] += 1
    return table


def worst(examples: list[Changed], most: int = MOST) -> list[Changed]:
    """At most so many, of every kind some, lost ones first and the most confident of each kind first."""
    parts = {kind: [one for one in examples if one.kind == kind] for kind in CHANGES}
    room = {kind: min(len(parts[kind]), round(most * share)) for kind, share in _SHARES.items()}
    for kind in CHANGES:
        room[kind] += min(len(parts[kind]) - room[kind], most - sum(room.values()))
    return [one for kind in CHANGES for one in parts[kind][: room[kind]]]


def _classified(row: dict[str, str], speedups: list[str]) -> tuple[list[Answer], float]:
    full, label = row[f"{_PREDICTION}1x"], row["label"]
    answers = []
    for speedup in speedups:
        prediction, probability = row[f"{_PREDICTION}{speedup}x"], float(row[f"{_PROBABILITY}{speedup}x"])
        kind = None
        if prediction != full:
            kind = LOST if full == label else GAINED if prediction == label else OTHER
        answers.append(Answer(speedup, prediction, probability, prediction == label, kind))
    return answers, next((answer.probability or 0.0 for answer in answers if answer.kind), 0.0)


def _regressed(row: dict[str, str], speedups: list[str]) -> tuple[list[Answer], float]:
    label, full = float(row["label"]), float(row[f"{_PREDICTION}1x"])
    answers, furthest = [], 0.0
    for speedup in speedups:
        value = float(row[f"{_PREDICTION}{speedup}x"])
        moved = abs(value - full)
        kind = None
        if f"{value:.3f}" != f"{full:.3f}":  # what moved by less cannot be seen
            kind = LOST if abs(value - label) > abs(full - label) else GAINED
        furthest = max(furthest, moved)
        answers.append(Answer(speedup, f"{value:.3f}", None, kind != LOST, kind))
    return answers, furthest
