"""Texts to token ids, by a folder's ``tokenizer.json`` alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latadj.runtime.manifest import Manifest


class Encoded:
    """The tokens of one text: their ids, and of which of two texts each is."""

    __slots__ = ("ids", "types")

    def __init__(self, ids: Sequence[int], types: Sequence[int]) -> None:
        self.ids, self.types = ids, types

    def __len__(self) -> int:
        return len(self.ids)


class TextEncoder:
    """Encodes texts as the model's tokenizer does, and pads them on the right.

    Parameters
    ----------
    folder : with ``tokenizer.json``

    Raises
    ------
    ValueError
        if the file is missing or damaged, or tokenizers is not installed.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ValueError("this needs tokenizers: pip install tokenizers") from error
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ValueError(f"folder {folder}: no tokenizer.json in it; make it with `latadj export`")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises no class of its own
            raise ValueError(f"{path}: cannot be read ({error}); export it again") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(manifest.max_length)
        self.inputs, self.pad = manifest.inputs, manifest.pad_token_id

    def __call__(self, texts: Sequence[str | tuple[str, str]]) -> list[Encoded]:
        """Encode texts, or pairs of them.

        Raises
        ------
        ValueError
            if one is no text.
        """
        if isinstance(texts, str):
            raise ValueError("texts: got one text, expected a list of them")
        for number, text in enumerate(texts):
            parts = text if isinstance(text, tuple) and len(text) == 2 else (text,)
            if not all(isinstance(part, str) for part in parts):
                raise ValueError(f"texts[{number}]: got {type(text).__name__}, expected a text or a tuple of two")
        encodings = self._tokenizer.encode_batch(list(texts))
        return [Encoded(one.ids, one.type_ids) for one in encodings]

    def arrays(self, batch: Sequence[Encoded]) -> dict[str, np.ndarray]:
        """The graph's token inputs, each (batch, tokens of the longest)."""
        shape = len(batch), max(map(len, batch))
        ids = np.full(shape, self.pad, dtype=np.int64)
        mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, one in enumerate(batch):
            ids[row, : len(one)], types[row, : len(one)], mask[row, : len(one)] = one.ids, one.types, 1
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {name: arrays[name] for name in self.inputs}
