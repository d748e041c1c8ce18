"""Uvicorn around the application: a port, and an end that answers whoever was let in."""

import logging
import signal
import socket
import time
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


class _Lingering(uvicorn.Server):
    """Goes on for a moment after a first signal, and ends at once after a second.

    A client may send its next request on a connection that is open and idle in the very moment in which the server
    closes it, and then never gets an answer (RFC 9112, section 9.5). Whoever asks in this moment is answered and told
    to close the connection.
    """

    def __init__(self, config: uvicorn.Config, linger_s: float) -> None:
        super().__init__(config)
        self._linger_s = linger_s
        self._signal: int | None = None
        self._end = 0.0

    @property
    def ending(self) -> bool:
        """Whether it got a signal."""
        return self._signal is not None or self.should_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.ending:
            super().handle_exit(sig, frame)
        else:
            self._signal, self._end = sig, time.monotonic() + self._linger_s

    async def on_tick(self, counter: int) -> bool:
        if self._signal is not None and not self.should_exit and time.monotonic() >= self._end:
            super().handle_exit(self._signal, None)
        return await super().on_tick(counter)


class WebServer:
    """Serves an application until SIGTERM or SIGINT, and then answers who was let in.

    Parameters
    ----------
    listening : as :func:`bound` gives it
    linger_s : seconds in which it still answers all who ask, and tells them to close their connections
    drain_s : seconds for the answers that are left then
    """

    def __init__(self, app: FastAPI, listening: socket.socket, *, linger_s: float, drain_s: float) -> None:
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
        self._server = _Lingering(config, linger_s)
        app.state.ending = lambda: self._server.ending
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
