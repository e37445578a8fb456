"""What a failed request of a load is called, and whose fault it is, by the one definition of `rollout.answers`.

A failure is an **error**, the server's fault, or a **client error**: an answer of 400 to 499, or a gRPC status of the
caller's, which is a success of the server. What a locustfile calls a failure, and no whole answer, are errors.
"""

from __future__ import annotations

from rollout.answers import AnswerClass, answer_of, classify

_HTTP, _GRPC = "status ", "gRPC "


def http_kind(status: int) -> str:
    """Return what a failed request is called after its HTTP status; an empty text below 400.

    >>> http_kind(503), http_kind(204)
    ('status 503', '')
    """
    return f"{_HTTP}{status}" if status >= 400 else ""


def grpc_kind(status: str) -> str:
    """Return what a failed call is called after the name of its gRPC status; an empty text for OK.

    >>> grpc_kind("UNAVAILABLE"), grpc_kind("OK")
    ('gRPC UNAVAILABLE', '')
    """
    return "" if status == "OK" else f"{_GRPC}{status}"


def is_client_error(kind: str) -> bool:
    """Return whether a failure of this kind is the client's fault.

    >>> [is_client_error(kind) for kind in ("status 404", "status 500", "gRPC NOT_FOUND", "ReadTimeout")]
    [True, False, True, False]
    """
    if kind.startswith(_HTTP):
        answer = kind.removeprefix(_HTTP)
        return answer.isdecimal() and classify(answer) is not AnswerClass.ERROR
    if kind.startswith(_GRPC):
        return classify(answer_of("200", grpc_status=kind.removeprefix(_GRPC))) is not AnswerClass.ERROR
    return False
