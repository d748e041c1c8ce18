"""Uvicorn around the application: a port, and an end that answers whoever was let in."""

import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

# Connections that may wait to be accepted.
BACKLOG = 2048


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is one that is free.

    Raises
    ------
    ValueError
        if there is no such address, or something listens there already.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"host={host} port={port}: {reason}; take another, or port=0 for one that is free") from error
    return listening


class WebServer:
    """Serves an application until SIGTERM or SIGINT, and then answers who was let in.

    Parameters
    ----------
    listening : as :func:`bound` gives it
    drain_s : seconds for that
    """

    def __init__(self, app: FastAPI, listening: socket.socket, drain_s: float) -> None:
        self._listening = listening
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=max(1, round(drain_s)),
        )
        self._server = uvicorn.Server(config)
        # A page that follows the server would keep it from ending.
        app.state.ending = lambda: self._server.should_exit
        self.failure: Exception | None = None

    def fail(self, error: Exception) -> None:
        """End because of an error, from any thread."""
        self.failure = error
        self._server.should_exit = True

    def run(self) -> None:
        """Serve.

        Raises
        ------
        Exception
            what :meth:`fail` was told.
        """

        # Uvicorn raises the signals that it got once more when it is done: then these are wanted no longer.
        def done(number: int, frame: FrameType | None) -> None:
            logging.getLogger("latadj").info("stopped by %s", signal.Signals(number).name)

        before = {number: signal.signal(number, done) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._server.run(sockets=[self._listening])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.failure is not None:
            raise self.failure
