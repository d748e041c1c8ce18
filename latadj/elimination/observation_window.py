"""Whose attention decides, in a decoder, which tokens of a prompt stay."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class ObservationWindow:
    """The queries by which a prompt's tokens are scored, and the tokens that stay whatever their score.

    window_size : the last so many tokens are the queries; 0: all
    sink_tokens : the first so many tokens stay
    recent_ratio : of the places that a layer has, this share goes to the most recent tokens, the rest by score
    kernel_size : a token's score is the mean over so many neighbours: what is copied is copied with what is beside it
        (as SnapKV pools, arXiv 2404.14469); odd, 1 leaves scores as they are

    Raises
    ------
    ValueError
        if a number is below 0, the share above 1, or ``kernel_size`` even.
    """

    window_size: int = 0
    sink_tokens: int = 0
    recent_ratio: float = 0.0
    kernel_size: int = 1

    def __post_init__(self) -> None:
        if self.window_size < 0 or self.sink_tokens < 0 or not 0.0 <= self.recent_ratio <= 1.0:
            raise ValueError(
                f"{self}: expected window_size and sink_tokens of at least 0, and recent_ratio from 0 to 1"
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size}: expected an odd number of neighbours, 1 for none")

    def text(self) -> str:
        """Its fields, by the names of the options."""
        return ", ".join(f"{name}={value:g}" for name, value in asdict(self).items())


# Every token is a query, and only the last prompt token is protected.
WHOLE = ObservationWindow()
