"""Whether the system lets this process load torch; asked first, since libraries hang where threads get no stack."""

import sys

# torch, transformers and datasets map a little more on Linux before they compute, most of it never in memory.
LEAST_BYTES = 2**31


def require() -> None:
    """Refuse a limit on the address space that the libraries alone exceed.

    Raises
    ------
    ValueError
    """
    if sys.platform == "win32":
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < LEAST_BYTES:
        raise ValueError(
            f"ulimit -v {soft // 1024}: this process may map {soft / 2**30:.1f} GiB, and PyTorch and its libraries map "
            "2 GiB before they compute: raise the limit, at best to `ulimit -v unlimited`"
        )
