"""What a user is told once in a process."""

import logging
from functools import cache

log = logging.getLogger("latadj")


@cache
def warn_once(message: str) -> None:
    """Log a warning, unless it has been logged before."""
    log.warning(message)
