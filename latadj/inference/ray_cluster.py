"""A Ray cluster: one that is there, or one of this machine alone that ends with the command."""

import logging
import os
import socket
from typing import Any

# Seconds in which a cluster is to accept a connection.
ANSWER_S = 5.0


def connect(address: str | None) -> Any:
    """Connect to a cluster, or start one.

    Parameters
    ----------
    address : such as ``auto`` or ``HOST:PORT``; None starts one here, which ends with ``ray.shutdown()``

    Returns
    -------
    the module ``ray``

    Raises
    ------
    ValueError
        if no cluster answers, or Ray does not start.
    """
    # No network unless the user asks for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's C++ part writes past every Python logger, such as that actors of Ray Data cannot be restarted if their
    # arguments are lost, which this process holds.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if address is not None:
        _require_answer(address)
    try:
        # Logs of the processes stay in Ray's own folder.
        ray.init(
            address or "local",
            include_dashboard=False if address is None else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        where = "Ray did not start" if address is None else f"ray.address={address}: no Ray cluster answers there"
        raise ValueError(f"{where} ({reason})") from error
    return ray


def _require_answer(address: str) -> None:
    """Refuse a host and port where nothing listens: Ray would go on trying for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # such as auto, which Ray looks up
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"ray.address={address}: no Ray cluster answers there ({reason})") from error
