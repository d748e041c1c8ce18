"""What is sent and answered: the format of text-embeddings-inference, with what `latadj` says beside it."""

import base64
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from latadj.server.request_errors import UnreadableRequestError

# Of a number of an embedding, behind the point.
DIGITS = 9


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


class ScoreRequest(TextRequest):
    """What every request for scores may say."""

    raw_scores: bool = Field(False, description="Answer with logits; of a regression, with its value.")


class PredictRequest(ScoreRequest):
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


class RerankRequest(ScoreRequest):
    """A query, and texts that may answer it."""

    query: Text = Field(examples=["what is a dial?"])
    texts: list[Text] = Field(min_length=1, examples=[["a knob that is turned", "a kind of fish"]])
    return_text: bool = Field(False, description="Answer with the texts too.")


Texts = Annotated[
    Text | Annotated[list[Text], Field(min_length=1)],
    Field(description="A text, or a list of texts.", examples=["a witty, moving film", ["a film", "a book"]]),
]
Dimensions = Annotated[
    int | None, Field(ge=1, description="Only the first so many numbers of each; null: as many as the model gives.")
]


class EmbedRequest(TextRequest):
    """Texts to embed."""

    inputs: Texts
    normalize: bool = Field(True, description="Bring embeddings to length 1.")
    prompt_name: str | None = Field(None, description="Of the model's prompts; null: the one it has as a rule.")
    dimensions: Dimensions = None


class EmbeddingsRequest(BaseModel):
    """Texts to embed, as OpenAI's clients ask; fields that are not known are ignored."""

    model_config = ConfigDict(strict=True)

    input: Texts
    model: str | None = Field(None, description="Answered as it is: there is one model here.")
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: of little-endian float32.")
    dimensions: Dimensions = None


class Embedding(BaseModel):
    """The embedding of the text at a place of the request."""

    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str
    index: int


class Usage(BaseModel):
    """Tokens of all texts."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """What OpenAI's clients expect."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


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


class Pooling(BaseModel):
    """What an embedding takes of the tokens."""

    pooling: str


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
    model_type: dict[Literal["classifier", "reranker", "embedding"], Labels | Pooling]
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


def embeddings(vectors: np.ndarray, dimensions: int | None, normalize: bool = True) -> np.ndarray:
    """(texts, dimensions) the first numbers of each embedding, of length 1 if they are normalised; float32.

    Raises
    ------
    UnreadableRequestError
        if there are fewer.
    """
    if dimensions is not None and dimensions > vectors.shape[1]:
        raise UnreadableRequestError(f"`dimensions`: {dimensions}, and embeddings have {vectors.shape[1]}")
    vectors = vectors[:, :dimensions].astype(np.float32)
    if normalize:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def numbers(vectors: np.ndarray) -> list[list[float]]:
    """Embeddings as lists of numbers, rounded to ``DIGITS`` behind the point."""
    digits: list[list[float]] = vectors.astype(np.float64).round(DIGITS).tolist()
    return digits


def packed(vectors: np.ndarray) -> list[str]:
    """Embeddings in base64 of little-endian float32."""
    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]


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
