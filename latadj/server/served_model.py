"""What the server knows of the model that its processes hold, without holding it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from latadj.config import ServeConfig
from latadj.elimination.drops import MeasuredDrop
from latadj.runtime.manifest import Embedding
from latadj.server.request_errors import UnreadableRequestError


class Embedder(Embedding):
    """How a model embeds the texts of requests."""

    def prompted(self, texts: Sequence[str], name: str | None) -> list[str]:
        """Texts with the prompt of a name before each; None: the one that they have as a rule.

        Raises
        ------
        UnreadableRequestError
            if there is none of that name.
        """
        if name is not None and name not in self.prompts:
            known = ", ".join(self.prompts) or "none"
            raise UnreadableRequestError(f"`prompt_name`: {name!r}, and this model has {known}")
        prompt = self.prompt if name is None else self.prompts[name]
        return [prompt + text for text in texts]


@dataclass(frozen=True)
class ServedModel:
    """A model as the server sees it; a *place* is a place among ``speedups``.

    labels : names of the outputs; none of embeddings
    embedder : how it embeds; None: it does not
    limit : tokens of a text
    dtype : of the parameters
    speedups, drops : rising, and what is expected to be lost at each; None where nobody measured it
    table : (speedups, limit) seconds of a batch of ``batch`` texts of one length, for 1 token and more
    """

    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    limit: int
    dtype: str
    speedups: list[float]
    drops: list[MeasuredDrop | None]
    table: np.ndarray
    batch: int
    embedder: Embedder | None = None

    @property
    def reranks(self) -> bool:
        """Whether its single output is a score of a text, or of two."""
        return len(self.labels) == 1

    def ceiling(self, max_drop: float | None, confident: bool) -> int:
        """Place of the largest speedup that loses at most so many points; where none does, that of the smallest.

        Parameters
        ----------
        max_drop : None: as much as the server may lose
        confident : judge by the upper end of the 95% interval
        """
        if max_drop is None:
            return len(self.drops) - 1
        place = 0
        for number, drop in enumerate(self.drops):
            if drop is None or 100 * (drop.high if confident else drop.drop) > max_drop + 1e-9:
                break
            place = number
        return place

    def facts(self, config: ServeConfig) -> dict[str, Any]:
        """What `/info` says of the dial."""
        return {
            "policy": config.policy,
            "deadline_ms": config.deadline_ms,
            "max_drop": config.max_drop,
            "speedups": [self.speedups[0], self.speedups[-1]],
            "replicas": config.replicas,
        }


def check_fixed(drops: list[MeasuredDrop | None], config: ServeConfig) -> None:
    """Refuse a fixed speedup that loses more than is allowed; 1x is the most accurate that there is.

    Raises
    ------
    ValueError
    """
    if config.policy != "fixed" or config.max_drop is None or config.speedup == 1.0:
        return
    (drop,) = drops
    if drop is None or 100 * (drop.high if config.confident else drop.drop) > config.max_drop:
        points = None if drop is None else f"it is expected to lose {100 * drop.drop:.2f} points"
        lost = points or "what it loses was not measured"
        raise ValueError(
            f"speedup={config.speedup:g}: {lost}, and max_drop={config.max_drop:g}: ask for less, or max_drop=null"
        )
