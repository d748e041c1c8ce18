"""Errors that a user's mistake causes, in one line each."""

from collections.abc import Iterator

from hydra.errors import HydraException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

USER_ERRORS = (HydraException, OmegaConfBaseException, ValueError, OSError)


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks and without Hydra's and OmegaConf's footnotes."""
    if isinstance(error, OmegaConfBaseException):
        *links, cause = _chain(error)
        own = isinstance(cause, ValueError) and not isinstance(cause, OmegaConfBaseException)
        if own and any(isinstance(link, InterpolationResolutionError) for link in links):
            return str(cause)  # a resolver of ours refused: its own words are the clearer ones
        return f"{error.full_key}: {str(error).splitlines()[0]}" if error.full_key else str(error).splitlines()[0]
    text = str(error).split("Config search path:")[0]
    return " ".join(part.strip() for part in text.splitlines() if part.strip()) or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, each once: OmegaConf can raise an error from its own context."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
