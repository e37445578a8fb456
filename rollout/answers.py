"""What became of a request: the one meaning of *error* and *success* in a plan, a load test and a report.

An **error** is what is the server's fault: an HTTP status of 500 or more, a gRPC status of `SERVER_FAULTS`, or no whole
answer. **Success** is the rest. A 4xx answer (or a gRPC status of `CLIENT_FAULTS`) says that the client asked for
something wrong: it is a success of the server, and counted by itself as a **client error**.
"""

from __future__ import annotations

from enum import StrEnum

SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""gRPC statuses that OpenTelemetry's conventions for RPC call errors of a server."""
CLIENT_FAULTS = frozenset(
    {
        "CANCELLED",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNAUTHENTICATED",
    }
)
_HTTP, _GRPC = "status ", "gRPC "


class Answer(StrEnum):
    """Whether a request was answered, and whose fault it is when it was not answered well."""

    SUCCESS = "success"
    CLIENT_ERROR = "client error"
    ERROR = "error"


def http_kind(status: int) -> str:
    """Return what a failed request is called after its HTTP status; an empty text below 400.

    >>> http_kind(503), http_kind(204)
    ('status 503', '')
    """
    return f"{_HTTP}{status}" if status >= 400 else ""


def grpc_kind(status: str) -> str:
    """Return what a failed call is called after its gRPC status; an empty text for OK.

    >>> grpc_kind("UNAVAILABLE"), grpc_kind("OK")
    ('gRPC UNAVAILABLE', '')
    """
    return "" if status == "OK" else f"{_GRPC}{status}"


def answer_of(kind: str) -> Answer:
    """Return what became of a request, by the kind of its failure; an empty text is no failure.

    >>> [str(answer_of(kind)) for kind in ("", "status 404", "status 500", "gRPC NOT_FOUND", "TimeoutError")]
    ['success', 'client error', 'error', 'client error', 'error']
    """
    if not kind:
        return Answer.SUCCESS
    is_client_error = (kind.startswith(f"{_HTTP}4") and len(kind) == len(_HTTP) + 3) or (
        kind.startswith(_GRPC) and kind.removeprefix(_GRPC) in CLIENT_FAULTS
    )
    return Answer.CLIENT_ERROR if is_client_error else Answer.ERROR
