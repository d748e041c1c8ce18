"""Who decides, in a decoder, which word-vectors of a prompt stay."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Who is asked what a prompt's word-vectors contribute, and which of them are never in question.

    queries : the last so many word-vectors are asked; 0 asks all
    sinks : the first so many word-vectors stay
    recent : of the places that a layer has, this share goes to the most recent word-vectors, the rest by score
    smooth : a word-vector's score is the mean over so many neighbours: what is copied is copied with what is beside
        it (as SnapKV pools, arXiv 2404.14469); odd, 1 leaves scores as they are

    Raises
    ------
    ValueError
        if a number is below 0, the share above 1, or ``smooth`` even.
    """

    queries: int = 0
    sinks: int = 0
    recent: float = 0.0
    smooth: int = 1

    def __post_init__(self) -> None:
        if self.queries < 0 or self.sinks < 0 or not 0.0 <= self.recent <= 1.0:
            raise ValueError(f"{self}: expected queries and sinks of at least 0, and a recent share from 0 to 1")
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise ValueError(f"smooth={self.smooth}: expected an odd number of neighbours, 1 for none")

    def text(self) -> str:
        """Itself in a few words."""
        asked = f"last {self.queries}" if self.queries else "all"
        return f"{asked} asked, {self.sinks} sinks, {100 * self.recent:.0f}% recent, smooth {self.smooth}"


# Every word-vector is asked, and only the last prompt token is protected.
WHOLE = Window()
