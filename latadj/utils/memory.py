"""Memory that a process holds on to."""

import ctypes
import sys
import time

# Between two times that a long run hands memory back.
PAUSE_S = 1.0
_trimmed = 0.0


def trim() -> None:
    """Hand freed memory back to the system: a few milliseconds.

    This works with glibc's own allocator on Linux; elsewhere, and with another one preloaded (jemalloc, tcmalloc),
    freed memory may stay with the process.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # musl has none
            libc.malloc_trim(0)


def trim_now_and_then() -> None:
    """:func:`trim` where that was not done for a second.

    For loops over batches of ever other sizes: what they free lies in pieces between what is kept, such as a kernel for
    each number of rows. Passes over 7,528 texts of up to 512 tokens came to hold 18 GB; one over 700 of them ended at
    2.1 GB, and at 1.0 GB where this was called.
    """
    global _trimmed
    if (now := time.monotonic()) - _trimmed >= PAUSE_S:
        trim()
        _trimmed = now
