"""The routes that ask the model."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from latadj.elimination.drops import MeasuredDrop
from latadj.server.engine import Answered
from latadj.server.model_service import ModelService
from latadj.server.request_errors import InferenceFailedError, TooLargeError
from latadj.server.wire_format import (
    Embeddings,
    EmbeddingsRequest,
    EmbedRequest,
    Predictions,
    PredictRequest,
    Rank,
    RerankRequest,
    TextRequest,
    embeddings,
    numbers,
    packed,
    predictions,
    ranks,
    scores,
)

Result = TypeVar("Result")
DeadlineMs = Annotated[
    float | None,
    Header(alias="X-Deadline-Ms", gt=0, le=1e6, allow_inf_nan=False, description="Milliseconds to answer in."),
]
MaxDrop = Annotated[
    float | None,
    Header(
        alias="X-Max-Drop",
        ge=0,
        le=200,
        allow_inf_nan=False,
        description="Points of the metric that may be lost; no more than the server's.",
    ),
]


def answer_routes(service: ModelService) -> APIRouter:
    """What asks a model: `/predict`, `/rerank` for one whose single output is a score, and `/embed` for embeddings."""
    config, router = service.config, APIRouter()

    async def answered(
        texts: list[list[str]], body: TextRequest, request: Request, deadline_ms: float | None, max_drop: float | None
    ) -> Answered | None:
        """The model's answer; None if the client hung up."""
        _check_sizes(texts, config.limits.request_texts, config.limits.text_characters)
        found = await _while_connected(
            request,
            service.predict(
                texts,
                truncate=config.truncate if body.truncate is None else body.truncate,
                side=body.truncation_direction,
                arrived=request.state.arrived,
                deadline_s=(deadline_ms or config.deadline_ms) / 1000,
                max_drop=max_drop,
            ),
        )
        if found is not None:
            request.state.noted = {"texts": len(texts), "speedup": round(found.speedup, 3)}
        return found

    async def predict(
        body: PredictRequest, request: Request, deadline_ms: DeadlineMs = None, max_drop: MaxDrop = None
    ) -> Response:
        """Labels of texts, the likeliest first."""
        if service.served.embedder is not None:
            raise InferenceFailedError("model is not a classifier model")
        found = await answered(body.texts, body, request, deadline_ms, max_drop)
        if found is None:
            return _to_nobody()
        labelled = predictions(scores(found.outputs, body.raw_scores), found.labels)
        return JSONResponse(labelled if body.batch else labelled[0], headers=_headers(found))

    async def rerank(
        body: RerankRequest, request: Request, deadline_ms: DeadlineMs = None, max_drop: MaxDrop = None
    ) -> Response:
        """Texts by how well they answer a query, the best first."""
        if not service.served.reranks:
            raise InferenceFailedError("model is not a re-ranker model")
        found = await answered([[body.query, text] for text in body.texts], body, request, deadline_ms, max_drop)
        if found is None:
            return _to_nobody()
        ordered = ranks(scores(found.outputs, body.raw_scores)[:, 0], body.texts if body.return_text else None)
        return JSONResponse(ordered, headers=_headers(found))

    async def embedded(
        texts: list[str],
        prompt_name: str | None,
        dimensions: int | None,
        body: TextRequest,
        request: Request,
        deadline_ms: float | None,
        max_drop: float | None,
    ) -> Answered | None:
        """The answer to single texts behind their prompt; None if the client hung up."""
        embedder = service.served.embedder
        if embedder is None:
            raise InferenceFailedError("model is not an embedding model")
        if not all(texts):
            raise TooLargeError("`inputs` cannot be empty")
        prompted = [[text] for text in embedder.prompted(texts, prompt_name)]
        found = await answered(prompted, body, request, deadline_ms, max_drop)
        if found is None or dimensions is not None:  # more may be asked for than the model gives by itself
            return found
        return replace(found, outputs=embedder.first(found.outputs))

    async def embed(
        body: EmbedRequest, request: Request, deadline_ms: DeadlineMs = None, max_drop: MaxDrop = None
    ) -> Response:
        """The embedding of each text."""
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        found = await embedded(texts, body.prompt_name, body.dimensions, body, request, deadline_ms, max_drop)
        if found is None:
            return _to_nobody()
        vectors = embeddings(found.outputs, body.dimensions, body.normalize)
        return JSONResponse(numbers(vectors), headers=_headers(found))

    async def openai_embeddings(
        body: EmbeddingsRequest, request: Request, deadline_ms: DeadlineMs = None, max_drop: MaxDrop = None
    ) -> Response:
        """The same, as OpenAI's clients ask and are answered."""
        texts = [body.input] if isinstance(body.input, str) else body.input
        asked = TextRequest(truncate=None, truncation_direction=None)
        found = await embedded(texts, None, body.dimensions, asked, request, deadline_ms, max_drop)
        if found is None:
            return _to_nobody()
        vectors = embeddings(found.outputs, body.dimensions)
        written = packed(vectors) if body.encoding_format == "base64" else numbers(vectors)
        answer = {
            "object": "list",
            "data": [{"object": "embedding", "embedding": one, "index": place} for place, one in enumerate(written)],
            "model": body.model or config.checkpoint,
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        }
        return JSONResponse(answer, headers=_headers(found))

    router.post("/embed", response_model=list[list[float]])(embed)
    router.post("/v1/embeddings", response_model=Embeddings)(openai_embeddings)
    router.post("/predict", response_model=Predictions)(predict)
    router.post("/", include_in_schema=False)(predict if service.served.embedder is None else embed)
    router.post("/rerank", response_model=list[Rank])(rerank)
    return router


def _to_nobody() -> Response:
    return Response(status_code=499)


def _check_sizes(texts: list[list[str]], most: int, characters: int) -> None:
    if len(texts) > most:
        raise TooLargeError(f"batch size {len(texts)} > maximum allowed batch size {most}")
    longest = max(len(part) for text in texts for part in text)
    if longest > characters:
        raise TooLargeError(f"a text has {longest} characters, and {characters} are allowed")


async def _while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result | None:
    """The result of work, which is given up where the client hangs up; then None."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        task.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _headers(answered: Answered) -> dict[str, str]:
    timing = {"queue": answered.queue_s, "tokenise": answered.tokenise_s, "run": answered.run_s}
    headers = {
        "X-Latadj-Speedup": f"{answered.speedup:.3f}",
        "Server-Timing": ", ".join(f"{name};dur={1000 * max(seconds, 0):.3f}" for name, seconds in timing.items()),
    }
    if answered.drop is not None:
        headers["X-Latadj-Expected-Drop"] = expected_drop(answered.drop)
    return headers


def expected_drop(drop: MeasuredDrop) -> str:
    """Points that are lost on validation text, with the ends of the 95% interval."""
    return f"{100 * drop.drop:.2f}; low={100 * drop.low:.2f}; high={100 * drop.high:.2f}"
