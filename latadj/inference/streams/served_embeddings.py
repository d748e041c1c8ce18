"""What `latadj predict` makes of embeddings."""

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints.embedding_model import PACKAGE
from latadj.config.commands.inference import RANGED
from latadj.elimination.sentence_transformer import prompt_of
from latadj.inference.streams.layouts import short
from latadj.inference.streams.ranges import FEW, Ranges
from latadj.inference.streams.served_tasks import ServedTask
from latadj.tasks.encoding.batches import require_room, tokenize
from latadj.tasks.outputs.embeddings import EmbeddingOutputs, require_dimensions
from latadj.tasks.outputs.predict import predict

log = logging.getLogger("latadj")


class Embeddings(ServedTask):
    """The embedding of a text; an answer is a row of its numbers.

    Numbers of fewer than 32 bits are those of ``quantize_embeddings`` of sentence-transformers, but float16, which it
    does not have. In CSV a vector is one field, its numbers divided by single blanks.

    Parameters
    ----------
    numbers : ``float32``, ``float16``, ``int8``, ``uint8``, or eight signs a byte: ``binary`` (int8), ``ubinary``
    prompt : what is put before each text
    ranges : of int8 and uint8; None: they are taken from the first texts
    dimensions : only the first so many numbers of each; None: as many as the model gives
    """

    columns = ("embedding",)

    def __init__(
        self,
        numbers: str = "float32",
        prompt: str = "",
        ranges: Ranges | None = None,
        dimensions: int | None = None,
    ) -> None:
        self.numbers, self.prompt, self.ranges, self.dimensions = numbers, prompt, ranges, dimensions
        self.outputs = EmbeddingOutputs(dimensions)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of an answer's numbers."""
        return np.dtype({"binary": "int8", "ubinary": "uint8"}.get(self.numbers, self.numbers))

    def width(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
        """How many numbers an answer has: what comes of one text.

        Raises
        ------
        ValueError
            if there are ranges, and they are of other embeddings, or more numbers are asked for than there are.
        """
        require_dimensions(model, "dimensions", [self.dimensions] if self.dimensions else [])
        dimensions = predict(model, tokenizer, tokenize([["a"]], tokenizer, 8), outputs=self.outputs).shape[1]
        if self.ranges is not None and len(self.ranges.low) != dimensions:
            raise ValueError(
                f"these ranges are of {len(self.ranges.low)} dimensions, and the model's embeddings have {dimensions}: "
                "give those of its own"
            )
        return -(-dimensions // 8) if self.numbers in ("binary", "ubinary") else dimensions

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int, texts: int) -> None:
        require_room(tokenizer, limit)

    def encode(
        self, texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, limit: int
    ) -> tuple[list[dict[str, Any]], Any]:
        prompted = [self.prompt + text for text in texts[0]] if self.prompt else texts[0]
        return tokenize([prompted], tokenizer, limit), None

    def answers(self, outputs: np.ndarray, encoded: Any) -> np.ndarray:
        """(texts, numbers) in ``dtype``."""
        if self.numbers == "float32":
            return outputs
        if self.numbers == "float16":
            return _halved(outputs)
        ranges = self._counted(outputs).array() if self.numbers in RANGED else None
        return import_module(PACKAGE).quantize_embeddings(outputs, precision=self.numbers, ranges=ranges)

    def _counted(self, outputs: np.ndarray) -> Ranges:
        """The ranges, taken now if they were not, with what lies beyond them counted."""
        if self.ranges is None:
            self.ranges = Ranges.of(outputs)
            if self.ranges.texts < FEW:
                log.warning(
                    "vectors=%s is spread over what the first %d texts hold, which are few: give ranges=FILE.npy of "
                    "more, or a larger window",
                    *(self.numbers, self.ranges.texts),
                )
        low, high = self.ranges.array()
        self.ranges.clipped += int(((outputs < low) | (outputs > high)).sum())
        return self.ranges

    def record(self, answer: np.ndarray) -> list[Any]:
        return [" ".join(map(short, answer))]

    def fields(self, answer: np.ndarray) -> dict[str, Any]:
        if answer.dtype.kind != "f":
            return {"embedding": answer.tolist()}
        return {"embedding": [float(short(number)) for number in answer]}

    def arrow_types(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        import pyarrow as pa

        number = pa.field("element", pa.from_numpy_dtype(self.dtype), nullable=False)
        return {"embedding": pa.list_(number, self.width(model, tokenizer))}


def _halved(outputs: np.ndarray) -> np.ndarray:
    """Embeddings in float16.

    Raises
    ------
    ValueError
        if a number is too large for it.
    """
    with np.errstate(over="ignore"):
        halved = outputs.astype(np.float16)
    if not np.isfinite(halved).all():
        raise ValueError(
            f"vectors=float16 ends at {np.finfo(np.float16).max:g}, and an embedding has {np.abs(outputs).max():g}: "
            "take vectors=float32"
        )
    return halved


def prompt_before(pipeline: Any, name: str | None) -> str:
    """What ``encode`` of a ``SentenceTransformer`` puts before each text.

    Parameters
    ----------
    name : of one of its prompts; None: the one that it has as a rule

    Raises
    ------
    ValueError
        if it has none of that name, or does not read the prompt's tokens as it reads a text's.
    """
    prompts = dict(pipeline.prompts or {})
    if name is not None and name not in prompts:
        raise ValueError(
            f"prompt_name={name}: expected one of {', '.join(prompts) or 'none: this model has no prompts'}"
        )
    prompt = prompt_of(pipeline) if name is None else prompts[name]
    if prompt and not getattr(pipeline[1], "include_prompt", True):
        raise ValueError(
            f"the prompt {prompt!r} of this model is left out when tokens are pooled, which predict does not do: embed "
            "with `latadj.load(checkpoint).encode(texts)`"
        )
    return prompt
