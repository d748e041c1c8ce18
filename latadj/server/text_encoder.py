"""Texts to token ids: few at once, many in threads of their own, so that nothing holds up the event loop."""

import asyncio
import copy
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transformers import PreTrainedTokenizerBase

from latadj.server.request_errors import TooLargeError
from latadj.tasks.encoding.batches import tokenize

# So few are tokenised at once in less time than another thread would need to begin.
FEW_CHARACTERS = 2000
# How fast the time of a text is learnt.
LEARNT = 0.05


class TextEncoder:
    """Tokenises the texts of requests.

    Parameters
    ----------
    limit : tokens of a text
    workers : threads; each has a tokenizer of its own, since one cannot be used by two at a time
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int, workers: int = 1) -> None:
        self.limit = limit
        self._original, self._own = tokenizer, threading.local()
        self._copying = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tokenizer")
        self._workers, self._texts, self._seconds_each = workers, 0, 0.0

    @property
    def backlog_s(self) -> float:
        """Seconds until a text that comes now is tokenised."""
        return self._texts * self._seconds_each / self._workers

    async def __call__(
        self, texts: Sequence[Sequence[str]], truncate: bool, side: str | None = None
    ) -> list[dict[str, Any]]:
        """A row of token ids for each text.

        Parameters
        ----------
        texts : each one text or a pair
        truncate : cut what is longer than ``limit``
        side : ``left`` or ``right``, where to cut; None: as the tokenizer does

        Raises
        ------
        TooLargeError
            if a text is empty, or longer and not to be cut.
        """
        if sum(len(part) for text in texts for part in text) <= FEW_CHARACTERS:
            return self.encode(texts, truncate, side)
        loop = asyncio.get_running_loop()
        self._texts += len(texts)
        try:
            rows, seconds = await loop.run_in_executor(self._pool, self._timed, texts, truncate, side)
        finally:
            self._texts -= len(texts)
        self._seconds_each += LEARNT * (seconds / len(texts) - self._seconds_each)
        return rows

    def _timed(
        self, texts: Sequence[Sequence[str]], truncate: bool, side: str | None
    ) -> tuple[list[dict[str, Any]], float]:
        start = time.perf_counter()
        return self.encode(texts, truncate, side), time.perf_counter() - start

    def encode(self, texts: Sequence[Sequence[str]], truncate: bool, side: str | None) -> list[dict[str, Any]]:
        """The same, in this thread."""
        tokenizer = self._tokenizer()
        tokenizer.truncation_side = side or self._original.truncation_side
        rows: list[dict[str, Any]] = [{}] * len(texts)
        for columns in (1, 2):
            places = [place for place, text in enumerate(texts) if len(text) == columns]
            if not places:
                continue
            columnwise = list(zip(*(texts[place] for place in places), strict=True))
            # One token more says that there are more.
            encoded = tokenize(columnwise, tokenizer, self.limit if truncate else self.limit + 1)
            for place, row in zip(places, encoded, strict=True):
                rows[place] = row
        for text, row in zip(texts, rows, strict=True):
            if not any(text):
                raise TooLargeError("`inputs` cannot be empty")
            if len(row["input_ids"]) > self.limit:
                raise TooLargeError(
                    f"`inputs` must have at most {self.limit} tokens: shorten it, or set truncate to true"
                )
        return rows

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        if not hasattr(self._own, "tokenizer"):
            with self._copying:
                self._own.tokenizer = copy.deepcopy(self._original)
        tokenizer: PreTrainedTokenizerBase = self._own.tokenizer
        return tokenizer

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
