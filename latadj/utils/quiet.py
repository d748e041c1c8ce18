"""Silence for libraries that say what no user of latadj can act on."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no log messages up to warnings, and nothing on standard output, inside a ``with`` block."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        # NNCF shows its progress there, where `latadj bench` writes its tables.
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
