"""A classifier that is fed texts, a window of them at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.inference.deadline import Deadline
from latadj.tasks.encoding.batches import tokenize
from latadj.tasks.outputs.predict import predict


@dataclass
class Engine:
    """A model that is ready to serve, with its tokenizer.

    limit : tokens that a text may have; what is longer is cut
    batch_size : texts of like length that run together
    regression : whether outputs are values, not classes
    deadline : divides the texts into batches that meet it, of up to ``batch_size``; None: all are of ``batch_size``
    tick : called after each batch with how many texts it had
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    limit: int
    batch_size: int
    regression: bool = False
    deadline: Deadline | None = None
    tick: Callable[[int], object] = lambda texts: None

    def __call__(self, texts: Sequence[Sequence[str]]) -> np.ndarray:
        """What the model says of texts, in their order.

        Parameters
        ----------
        texts : one sequence of texts for each text column, all of one length, at least 1

        Returns
        -------
        (texts, labels) probabilities, of a regression (texts, 1) values; float32
        """
        rows = tokenize(texts, self.tokenizer, self.limit)
        divide = partial(self.deadline.batches, most=self.batch_size) if self.deadline else None
        outputs = predict(
            self.model, self.tokenizer, rows, batch_size=self.batch_size, around=self._ticking, divide=divide
        )
        return outputs if self.regression else softmax(outputs, axis=-1)

    @contextmanager
    def _ticking(self, lengths: Sequence[int]) -> Iterator[None]:
        with self.deadline(lengths) if self.deadline else nullcontext():
            yield
        self.tick(len(lengths))
