"""Notices at once when another process of the training ends, whatever this one is waiting for.

Every process holds a connection to the first one, which the system closes however its end comes. A collective would
notice too, but only when the next one is due, and with a traceback in each process.
"""

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

# What is said over a connection: that its process is done, or that the user has been told why all end.
DONE, TOLD = b"d", b"t"
# Seconds that a process gives the first one to say what both of them met.
FIRST_SPEAKS = 2.0
CONNECT_SECONDS = 60.0
_TOKEN_BYTES = 16


class Watch:
    """The connections of this process: the first one's to all others, another one's to the first.

    Parameters
    ----------
    connections : rank of the other process -> connection
    """

    def __init__(self, rank: int, size: int, connections: dict[int, socket.socket]) -> None:
        self.rank, self.size, self.connections = rank, size, connections
        self.leaving = False
        self._ends = threading.Lock()
        for other, connection in connections.items():
            threading.Thread(target=self._listen, args=(other, connection), daemon=True).start()

    def tell(self, message: bytes) -> None:
        """Say something to every process that this one is connected to and that is still there."""
        for connection in self.connections.values():
            try:
                connection.sendall(message)
            except OSError:
                continue

    def _listen(self, other: int, connection: socket.socket) -> None:
        try:
            message = connection.recv(1)
        except OSError:
            message = b""
        if message == DONE or self.leaving:
            return
        # For good: those that are told answer, and the thread that hears them would end this process in mid-sentence.
        self._ends.acquire()
        # Of those that are left the first speaks.
        if message != TOLD and self.rank == (0 if other else 1):
            line = f"process {other} of {self.size} has ended, so all end; resume=true goes on"
            sys.stderr.write(f"latadj finetune: {line}\n")
            sys.stderr.flush()
        self.tell(TOLD)
        os._exit(2 if message == TOLD else 1)


_watch: Watch | None = None


def watch(rank: int, size: int, agreed: Callable[[Any], Any]) -> None:
    """Connect the processes; ``agreed`` gives all of them the first one's value.

    Raises
    ------
    OSError
        if they cannot be connected.
    """
    global _watch
    token = secrets.token_bytes(_TOKEN_BYTES)
    if rank:
        port, token = agreed(None)
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
        connection.sendall(token + rank.to_bytes(4, "big"))
        connection.settimeout(None)
        _watch = Watch(rank, size, {0: connection})
        return
    with socket.create_server(("", 0), backlog=size) as server:
        server.settimeout(CONNECT_SECONDS)
        agreed((server.getsockname()[1], token))
        connections: dict[int, socket.socket] = {}
        while len(connections) < size - 1:
            connection, _ = server.accept()
            connection.settimeout(CONNECT_SECONDS)
            greeting = connection.recv(_TOKEN_BYTES + 4, socket.MSG_WAITALL)
            if not secrets.compare_digest(greeting[:_TOKEN_BYTES], token):  # somebody else found the port
                connection.close()
                continue
            connection.settimeout(None)
            connections[int.from_bytes(greeting[_TOKEN_BYTES:], "big")] = connection
    _watch = Watch(rank, size, connections)


def leave() -> None:
    """Let the others know that this process ends as it should."""
    if _watch is not None:
        _watch.leaving = True
        _watch.tell(DONE)


def speak(say: Callable[[], object], code: int) -> None:
    """Say why this process ends, unless the first process says it: what all of them met is said once.

    The others end without a word. One of several processes ends here, with ``code``: torch would wait for the others,
    or break off over their lost connections.
    """
    if _watch is None or _watch.leaving:
        say()
        return
    if _watch.rank:
        time.sleep(FIRST_SPEAKS)
    _watch.leaving = True
    say()
    _watch.tell(TOLD)
    sys.stdout.flush()
    os._exit(code)


def let_others_speak(seconds: float = FIRST_SPEAKS) -> None:
    """Wait for another process to say why all end, which ends this one too.

    Called before a traceback as well: that another process is gone, where one is, explains it.
    """
    if _watch is not None and not _watch.leaving:
        time.sleep(seconds)
