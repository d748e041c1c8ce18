"""What is sent and answered: the format of text-embeddings-inference, with what `latadj` says beside it."""

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _unicode(text: str) -> str:
    """Refuse a half of a character, as JSON may hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("not valid Unicode") from error
    return text


Text = Annotated[str, AfterValidator(_unicode)]
# One text, or a pair.
Sequence = Annotated[list[Text], Field(min_length=1, max_length=2)]
Inputs = Annotated[
    Text | Sequence | Annotated[list[Sequence], Field(min_length=1)],
    Field(
        description='A text, a pair of texts ["a", "b"], or a batch of both: [["a"], ["b", "c"]].',
        examples=["a witty, moving film", [["a witty film"], ["a dull film"]]],
    ),
]


class TextRequest(BaseModel):
    """What every request with texts may say; fields that are not known are ignored."""

    model_config = ConfigDict(strict=True)

    truncate: bool | None = Field(None, description="Cut texts that are too long; null: as the server does.")
    truncation_direction: Annotated[
        Literal["left", "right"] | None, BeforeValidator(lambda side: side.lower() if isinstance(side, str) else side)
    ] = Field(None, description="Where to cut; null: as the tokenizer does.")
    raw_scores: bool = Field(False, description="Answer with logits; of a regression, with its value.")


class PredictRequest(TextRequest):
    """Texts to classify."""

    inputs: Inputs

    @property
    def batch(self) -> bool:
        """Whether several texts, or one in a list of its own, are asked about."""
        return isinstance(self.inputs, list) and isinstance(self.inputs[0], list)

    @property
    def texts(self) -> list[list[str]]:
        """The texts and pairs."""
        if isinstance(self.inputs, str):
            return [[self.inputs]]
        single = [one for one in self.inputs if isinstance(one, str)]
        return [single] if single else [one for one in self.inputs if isinstance(one, list)]


class RerankRequest(TextRequest):
    """A query, and texts that may answer it."""

    query: Text = Field(examples=["what is a dial?"])
    texts: list[Text] = Field(min_length=1, examples=[["a knob that is turned", "a kind of fish"]])
    return_text: bool = Field(False, description="Answer with the texts too.")


class Rank(BaseModel):
    """How well a text answers the query; ``index`` is its place in the request."""

    index: int
    text: str | None = None
    score: float


class Prediction(BaseModel):
    """A label and how likely it is."""

    score: float
    label: str


Predictions = list[Prediction] | list[list[Prediction]]


class ErrorResponse(BaseModel):
    """Why there is no answer."""

    error: str
    error_type: str


class Labels(BaseModel):
    """Labels by number, and the other way round."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class Dial(BaseModel):
    """How the dial is turned.

    ``speedups`` are the smallest and the largest that may be used.
    """

    policy: str
    deadline_ms: float
    max_drop: float | None
    speedups: list[float]
    replicas: int


class Info(BaseModel):
    """What is served."""

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    model_type: dict[Literal["classifier", "reranker"], Labels]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None
    dial: Dial


def scores(logits: np.ndarray, raw: bool) -> np.ndarray:
    """(texts, labels) scores of logits: softmax, of a single output the logistic function."""
    if raw:
        return logits
    if logits.shape[1] == 1:
        return 1 / (1 + np.exp(-logits))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def predictions(values: np.ndarray, labels: list[str]) -> list[list[dict[str, float | str]]]:
    """Of each text the labels with their scores, the highest first."""
    answers = []
    for row in values.astype(np.float32):
        order = np.argsort(-row, kind="stable")
        answers.append([{"score": _short(row[place]), "label": labels[place]} for place in order])
    return answers


def ranks(values: np.ndarray, texts: list[str] | None) -> list[dict[str, float | int | str]]:
    """Places of texts with their scores, the highest first.

    Parameters
    ----------
    values : (texts,)
    texts : to answer with; None: without them
    """
    values = values.astype(np.float32)
    return [
        {"index": int(place), **({} if texts is None else {"text": texts[place]}), "score": _short(values[place])}
        for place in np.argsort(-values, kind="stable")
    ]


def _short(score: np.float32) -> float:
    """As few digits as tell a 32-bit number from its neighbours."""
    return float(str(score))
