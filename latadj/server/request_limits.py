"""Around every request: its number, the size and pace of its body, and what is noted of it."""

import asyncio
import json
import logging
import time
import uuid
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latadj.server.telemetry import Telemetry

access = logging.getLogger("latadj.access")
ID_HEADER = b"x-request-id"
LONGEST_ID = 128


class RequestLimits:
    """ASGI middleware; ``scope["state"]`` gets ``arrived``, second of ``time.perf_counter``, and ``id``.

    Parameters
    ----------
    body_bytes : of a request's body, at most
    body_s : seconds in which a body is to be sent
    log_access : write a line of JSON for each request
    answer_id : answer with the request's number
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        telemetry: Telemetry,
        body_bytes: int,
        body_s: float,
        log_access: bool,
        answer_id: bool = True,
    ) -> None:
        self.app, self.telemetry, self.answer_id = app, telemetry, answer_id
        self.body_bytes, self.body_s, self.log_access = body_bytes, body_s, log_access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        arrived = time.perf_counter()
        number = _id(scope)
        scope.setdefault("state", {}).update(arrived=arrived, id=number)
        status = 0

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(ID_HEADER, number.encode())] if self.answer_id else []
                if scope["app"].state.ending():
                    added.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        try:
            await self.app(scope, self._limited(receive, arrived), numbered)
        finally:
            seconds = time.perf_counter() - arrived
            if scope["method"] == "POST":
                self.telemetry.request(status or 499, seconds)
            if self.log_access:
                access.info(json.dumps(_line(scope, number, status or 499, seconds)))

    def _limited(self, receive: Receive, arrived: float) -> Receive:
        """Gives a request's body as long as it is small and quick enough."""
        size, complete = 0, False

        async def limited() -> Message:
            nonlocal size, complete
            if complete:  # what is waited for now is the end of the connection
                return await receive()
            left = arrived + self.body_s - time.perf_counter()
            try:
                message = await asyncio.wait_for(receive(), max(left, 0.001))
            except asyncio.TimeoutError:
                raise HTTPException(408, f"the body took longer than {self.body_s:g} s") from None
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size > self.body_bytes:
                raise HTTPException(413, f"the body is larger than {self.body_bytes} bytes")
            return message

        return limited


def _id(scope: Scope) -> str:
    """The number that the client gave its request, or a new one."""
    given = next((value for name, value in scope["headers"] if name == ID_HEADER), b"").decode("latin-1")
    fit = 0 < len(given) <= LONGEST_ID and given.isascii() and given.isprintable()
    return given if fit else uuid.uuid4().hex


def _line(scope: Scope, number: str, status: int, seconds: float) -> dict[str, Any]:
    noted = scope["state"].get("noted", {})
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "id": number,
        "client": (scope.get("client") or ("",))[0],
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "ms": round(1000 * seconds, 2),
        **noted,
    }
