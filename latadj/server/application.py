"""The HTTP API: that of text-embeddings-inference, with a deadline and a drop for each request."""

import asyncio
import hmac
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.sse import EventSourceResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from latadj import __version__
from latadj.reporting.html.live_page import ServedModel, live_page
from latadj.server.answer_routes import answer_routes
from latadj.server.model_service import ModelService
from latadj.server.request_errors import KINDS, NotReadyError, RequestError, UnauthorizedError
from latadj.server.request_limits import RequestLimits
from latadj.server.wire_format import ErrorResponse, Info

ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorResponse, "description": "The API key is missing or wrong"},
    408: {"model": ErrorResponse, "description": "The body came too slowly"},
    413: {"model": ErrorResponse, "description": "The body, a text or the batch is too large"},
    422: {"model": ErrorResponse, "description": "The request is not what is expected"},
    424: {"model": ErrorResponse, "description": "The model failed"},
    429: {"model": ErrorResponse, "description": "The answer would come too late, even at the largest speedup"},
    503: {"model": ErrorResponse, "description": "The model is not warm yet, or the server ends"},
}
# Errors of a request's form that a message quotes.
QUOTED = 3
# Seconds between two moments of the page.
EVENT_S = 1.0


def application(
    service: ModelService, failed: Callable[[Exception], object] = lambda error: None, *, on_ray: bool = False
) -> FastAPI:
    """The application that serves a model.

    Parameters
    ----------
    failed : called where the warm-up goes wrong
    on_ray : start once the model is warm, and leave `X-Request-Id` to Ray's proxy; else start at once, and `/health`
        says when it is warm
    """
    config = service.config

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start(failed)
        if on_ray:
            await service.started()
        yield
        await service.close()

    app = FastAPI(
        title="latadj",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these load scripts from elsewhere
        redoc_url=None,
        responses={},
    )
    app.add_middleware(
        RequestLimits,
        telemetry=service.telemetry,
        body_bytes=config.limits.body_bytes,
        body_s=config.limits.body_s,
        log_access=config.access_log,
        answer_id=not on_ray,
    )
    # Answers tell clients to close their connections then, and a page that follows the server comes to its end.
    app.state.ending = lambda: False
    _answer_errors(app)
    bearer = HTTPBearer(auto_error=False)

    def authorized(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        token = given.credentials.encode() if given is not None else b""
        if not hmac.compare_digest(token, str(config.api_key).encode()):
            raise UnauthorizedError("the API key is missing or wrong: send it as `Authorization: Bearer KEY`")

    # Without a key the document names none.
    locked = [] if config.api_key is None else [Depends(authorized)]
    options: dict[str, Any] = {"dependencies": locked, "responses": ERRORS}
    app.include_router(answer_routes(service), **options)

    @app.get("/info", dependencies=locked, responses={401: ERRORS[401]})
    async def info() -> Info:
        """What is served."""
        return _info(service)

    if config.reload:

        @app.post("/reload", **options)
        async def reload() -> Info:
            """Serve the checkpoint as it is on disk now."""
            await service.reload()
            return _info(service)

    @app.get("/health", response_class=Response, responses={503: ERRORS[503]})
    async def health() -> Response:
        """Whether the model is warm, and the server is to go on."""
        if not service.ready or app.state.ending():
            raise NotReadyError("unhealthy", 1.0)
        return Response()

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.telemetry.text(), media_type=CONTENT_TYPE_LATEST)

    if config.page:
        _show_page(app, service)
    return app


def _show_page(app: FastAPI, service: ModelService) -> None:
    """The page that follows the server."""
    config = service.config
    shown = ServedModel(
        config.checkpoint,
        config.policy,
        config.deadline_ms,
        config.max_drop,
        service.served.speedups[-1],
        config.api_key is not None,
        service.served.embedder is not None,
    )
    html = live_page(shown)

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html)

    @app.get("/events", include_in_schema=False, response_class=EventSourceResponse)
    async def events() -> AsyncIterable[dict[str, Any]]:
        while not app.state.ending():
            yield service.telemetry.live().to_json()
            await asyncio.sleep(EVENT_S)


def _info(service: ModelService) -> Info:
    limits = service.config.limits
    return Info.model_validate(
        {
            "model_id": service.config.checkpoint,
            "model_dtype": service.served.dtype,
            "model_type": _model_type(service),
            "max_concurrent_requests": limits.waiting_texts,
            "max_input_length": service.served.limit,
            "max_batch_tokens": service.config.batch_tokens,
            "max_client_batch_size": limits.request_texts,
            "auto_truncate": service.config.truncate,
            "tokenization_workers": service.config.tokenizers,
            "version": __version__,
            "dial": service.served.facts(service.config),
        }
    )


def _model_type(service: ModelService) -> dict[str, Any]:
    """What kind of model it is, and what that kind has."""
    served = service.served
    if served.embedder is not None:
        return {"embedding": {"pooling": served.embedder.pooling}}
    return {
        "reranker" if served.reranks else "classifier": {
            "id2label": {str(number): name for number, name in enumerate(served.labels)},
            "label2id": {name: number for number, name in enumerate(served.labels)},
        }
    }


def _answer_errors(app: FastAPI) -> None:
    """Answer every error as ``{"error", "error_type"}``."""

    def answer(status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": message, "error_type": kind}, status, headers)

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> JSONResponse:
        headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:.0f}"}
        return answer(error.status, str(error), error.kind, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:QUOTED]]
        return answer(422, "; ".join(found), KINDS[422])

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> JSONResponse:
        # FastAPI's 400 is for a body that it could not read, such as invalid UTF-8.
        status = 422 if error.status_code == 400 else error.status_code
        return answer(status, str(error.detail), KINDS.get(status, "Validation"), dict(error.headers or {}))
