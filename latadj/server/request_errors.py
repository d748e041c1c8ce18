"""Why a request is not answered: statuses and words of text-embeddings-inference, which its clients know."""


class RequestError(Exception):
    """A request that is answered with an error.

    status : of HTTP
    kind : ``error_type`` of the answer
    retry_after : seconds after which to ask again; None: that would not help
    """

    status, kind = 500, "Backend"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnreadableRequestError(RequestError):
    """The request is not what the API takes."""

    status, kind = 422, "Tokenizer"


class TooLargeError(RequestError):
    """The request or a text of it is larger than is allowed."""

    status, kind = 413, "Validation"


class InferenceFailedError(RequestError):
    """The model gave no answer."""

    status, kind = 424, "Backend"


class OverloadedError(RequestError):
    """The answer would come too late."""

    status, kind = 429, "Overloaded"


class NotReadyError(RequestError):
    """The model is not warm yet."""

    status, kind = 503, "Unhealthy"


class UnauthorizedError(RequestError):
    """The API key is missing or wrong."""

    status, kind = 401, "Unauthorized"


# What text-embeddings-inference calls an error of a status.
KINDS = {
    kind.status: kind.kind
    for kind in (
        UnauthorizedError,
        UnreadableRequestError,
        TooLargeError,
        InferenceFailedError,
        OverloadedError,
        NotReadyError,
    )
}
