"""The numbers between which vectors of 8 bits lie, dimension by dimension. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from latadj.inference.streams.rows import Place
from latadj.utils.files import atomic_write
from latadj.utils.serialization import Entries

# Fewer texts than this do not show how far a dimension goes; sentence-transformers warns of them too.
FEW = 100
Numbers = Annotated[list[float], Entries(2**20, least=1)]


@dataclass
class Ranges:
    """What the 256 values of a number of 8 bits are spread over.

    low, high : (dimensions,) ends of each dimension, of which what lies beyond is clipped to them
    texts : from whose embeddings they were taken; 0: they were given
    clipped : numbers that lay beyond
    """

    low: Numbers
    high: Numbers
    texts: Place = 0
    clipped: Place = 0

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high):
            raise ValueError(f"{len(self.low)} least numbers and {len(self.high)} largest: expected as many")

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Ranges":
        """Those of (texts, dimensions) embeddings.

        Raises
        ------
        ValueError
            if there is one text, which has no range.
        """
        if len(vectors) < 2:
            raise ValueError(
                "vectors of 8 bits are spread over what the first window holds, and that is one text: give "
                "ranges=FILE.npy, or a larger window"
            )
        return cls(vectors.min(axis=0).tolist(), vectors.max(axis=0).tolist(), len(vectors))

    @classmethod
    def read(cls, path: Path) -> "Ranges":
        """Those in a .npy file of (2, dimensions): least and largest numbers, as sentence-transformers has them.

        Raises
        ------
        ValueError
            if it is missing, or holds something else.
        """
        expected = f"ranges={path}: expected a .npy file of 2 rows, the least and the largest number of each dimension"
        if not path.is_file():
            raise ValueError(f"ranges={path}: no such file")
        try:
            ends = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{expected}; it cannot be read") from error
        if not isinstance(ends, np.ndarray) or ends.ndim != 2 or len(ends) != 2 or not ends.size:
            raise ValueError(f"{expected}, got {getattr(ends, 'shape', 'several arrays')}")
        if ends.dtype.kind not in "fiu" or not np.isfinite(ends).all() or (ends[0] > ends[1]).any():
            raise ValueError(f"{expected}: finite numbers, none above the one below it")
        low, high = ends.astype(np.float32).tolist()
        return cls(low, high)

    def array(self) -> np.ndarray:
        """(2, dimensions) float32, least and largest numbers."""
        return np.array([self.low, self.high], dtype=np.float32)

    def leave(self, path: Path) -> None:
        """Write those that were taken from embeddings, for queries to be quantised by; where they were given, none."""
        if not self.texts:
            path.unlink(missing_ok=True)  # of an output that was overwritten
            return
        with atomic_write(path) as temporary:
            np.save(temporary, self.array())
