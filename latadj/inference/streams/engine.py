"""A model that is fed texts, a window of them at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.inference.deadline import Deadline
from latadj.inference.streams.served_tasks import ServedTask
from latadj.tasks.outputs.predict import predict


@dataclass
class Engine:
    """A model that is ready to serve, with its tokenizer.

    task : which rows it reads of texts, and what it answers
    limit : tokens that a row may have
    batch_size : rows of like length that run together
    deadline : divides the rows into batches that meet it, of up to ``batch_size``; None: all are of ``batch_size``
    tick : called after each batch with how many texts it had; where a text becomes several rows, its share of them
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: ServedTask
    limit: int
    batch_size: int
    deadline: Deadline | None = None
    tick: Callable[[int], object] = lambda texts: None

    def __call__(self, texts: Sequence[Sequence[str]]) -> Sequence[Any]:
        """What the model answers to texts, in their order; see ``task``.

        Parameters
        ----------
        texts : one sequence of texts for each text column, all of one length, at least 1
        """
        rows, encoded = self.task.encode(texts, self.tokenizer, self.limit)
        divide = partial(self.deadline.batches, most=self.batch_size) if self.deadline else None
        self._done, self._share = 0, len(texts[0]) / max(len(rows), 1)
        outputs = predict(
            self.model,
            self.tokenizer,
            rows,
            outputs=self.task.outputs,
            batch_size=self.batch_size,
            around=self._ticking,
            divide=divide,
        )
        return self.task.answers(outputs, encoded)

    @contextmanager
    def _ticking(self, lengths: Sequence[int]) -> Iterator[None]:
        with self.deadline(lengths) if self.deadline else nullcontext():
            yield
        before = round(self._done * self._share)
        self._done += len(lengths)
        self.tick(round(self._done * self._share) - before)
