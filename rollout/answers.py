"""How a request was answered, and what that says of the server: one definition for plan, judge, load test and report.

An answer is written as its HTTP status with the proxy's flags (`200`, `503 UF`, `0 DC`), or as `grpc` with the call's
status (`grpc 14`). What is the server's fault is an **error**; everything else is a **success**. Answers that are no
errors still tell the tracks apart: a canary that answers 404 where stable answers 200 has lost its routes. So each
class of answer is compared with stable on its own.

A failed request of a load is an **error**, or a **client error**: an answer of 400 to 499, or a gRPC status of the
caller's, which is a success of the server. What a locustfile calls a failure, and no whole answer, are errors.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Final

GRPC_STATUSES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""By number, from 0; https://grpc.github.io/grpc/core/md_doc_statuscodes.html."""
GRPC_ERRORS: Final = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
"""What OpenTelemetry's conventions call an error of the server; the others are the caller's or part of the protocol."""
_CLIENT_LEFT: Final = frozenset({"DC", "DPE", "DR"})
"""Envoy's flags of a request that its client gave up or garbled; a gRPC status beside them is the proxy's own."""
_BROKEN_OFF: Final = frozenset({"LR", "SI", "UC", "UF", "UMSDR", "UPE", "UR", "UT"})
"""Envoy's flags of an answer that the upstream did not give, or not to its end: its status may be 200 all the same."""


class AnswerClass(StrEnum):
    """What kind of answer it was. All but errors and successes are compared with stable, and have no limit."""

    SUCCESS = "success"
    ERROR = "errors"
    EMPTY = "empty answers"
    REDIRECT = "redirects"
    UNAUTHORIZED = "unauthorized answers"
    NOT_FOUND = "not-found answers"
    THROTTLED = "throttled answers"
    REJECTED = "other 4xx answers"
    CUT_OFF = "requests cut off by clients"


COMPARED: Final = tuple(kind for kind in AnswerClass if kind not in (AnswerClass.SUCCESS, AnswerClass.ERROR))
"""The classes that are compared with stable's."""
_GRPC_CLASSES: Final = {
    0: AnswerClass.SUCCESS,
    1: AnswerClass.CUT_OFF,
    5: AnswerClass.NOT_FOUND,
    7: AnswerClass.UNAUTHORIZED,
    8: AnswerClass.THROTTLED,
    16: AnswerClass.UNAUTHORIZED,
}
_HTTP_CLASSES: Final = {
    204: AnswerClass.EMPTY,
    205: AnswerClass.EMPTY,
    304: AnswerClass.SUCCESS,
    401: AnswerClass.UNAUTHORIZED,
    403: AnswerClass.UNAUTHORIZED,
    404: AnswerClass.NOT_FOUND,
    405: AnswerClass.NOT_FOUND,
    407: AnswerClass.UNAUTHORIZED,
    410: AnswerClass.NOT_FOUND,
    429: AnswerClass.THROTTLED,
    499: AnswerClass.CUT_OFF,
}
_HTTP: Final = "status "
_GRPC: Final = "gRPC "
"""How a failed request's kind begins."""
_FLAGS: Final = re.compile(r"[A-Z]+")


def answer_of(status: str, flags: str = "", grpc_status: str = "") -> str:
    """Return an answer as it is written here.

    Parameters
    ----------
    status
        The HTTP status; `0` where there was none.
    flags
        The proxy's flags, separated by anything; `-` for none.
    grpc_status
        The call's status by number or name; empty where it was no gRPC call.

    >>> answer_of("200", "-"), answer_of("503", "UF,URX"), answer_of("200", "", "UNAVAILABLE"), answer_of("0", "DC")
    ('200', '503 UF URX', 'grpc 14', '0 DC')
    >>> answer_of("500", "-", "0"), answer_of("503", "UF", "14")
    ('500', 'grpc 14 UF')
    """
    named = " ".join(_FLAGS.findall(flags.upper()))
    if grpc_status.strip():
        number = _grpc_number(grpc_status)
        # A call that is OK has HTTP status 200: beside a 500 the 0 is a proxy's default.
        status = status if number == 0 and status.startswith(("4", "5")) else f"grpc {number}"
    return f"{status} {named}".strip()


def _grpc_number(status: str) -> int:
    word = re.sub(r"(?<=[a-z])(?=[A-Z])|[ -]", "_", status.strip()).upper().replace("CANCELED", "CANCELLED")
    if word.isdecimal() and word.isascii():
        return int(word[:9])
    return GRPC_STATUSES.index(word) if word in GRPC_STATUSES else GRPC_STATUSES.index("UNKNOWN")


def classify(answer: str, grpc_errors: Collection[str] = GRPC_ERRORS) -> AnswerClass:
    """Return what kind of answer it was; what nobody can read is a success, as nothing says otherwise.

    Parameters
    ----------
    answer
        As `answer_of` writes it.
    grpc_errors
        The gRPC statuses that are errors, by name.

    >>> [str(classify(answer)) for answer in ("200", "503", "404", "grpc 14", "grpc 7", "0 UC", "200 UC")]
    ['success', 'errors', 'not-found answers', 'errors', 'unauthorized answers', 'errors', 'errors']
    """
    status, *flags = answer.removeprefix("grpc ").split(" ")
    if not (status.isascii() and status.isdecimal()):
        return AnswerClass.SUCCESS
    if answer.startswith("grpc "):
        is_left = not _CLIENT_LEFT.isdisjoint(flags)
        return AnswerClass.CUT_OFF if is_left else _grpc_class(int(status[:9]), grpc_errors)
    return _http_class(int(status[:9]), frozenset(flags))


def _grpc_class(number: int, errors: Collection[str]) -> AnswerClass:
    name = GRPC_STATUSES[number] if number < len(GRPC_STATUSES) else "UNKNOWN"
    return AnswerClass.ERROR if name in errors else _GRPC_CLASSES.get(number, AnswerClass.REJECTED)


def _http_class(status: int, flags: frozenset[str]) -> AnswerClass:
    if status == 101:  # an upgraded connection, such as a websocket, has no answer that could end early
        return AnswerClass.SUCCESS
    if status >= 500 or flags & _BROKEN_OFF:
        return AnswerClass.ERROR
    if flags & _CLIENT_LEFT:
        return AnswerClass.CUT_OFF
    if status == 0:  # no answer, and no client that gave up
        return AnswerClass.ERROR
    if status in _HTTP_CLASSES:
        return _HTTP_CLASSES[status]
    if status >= 400:
        return AnswerClass.REJECTED
    return AnswerClass.REDIRECT if status >= 300 else AnswerClass.SUCCESS


def http_kind(status: int) -> str:
    """Return what a failed request is called after its HTTP status; an empty text below 400.

    >>> http_kind(503), http_kind(204)
    ('status 503', '')
    """
    return f"{_HTTP}{status}" if status >= 400 else ""


def is_http_kind(kind: str) -> bool:
    """Return whether a failed request is called after its HTTP status.

    >>> is_http_kind("status 503"), is_http_kind("ReadTimeout")
    (True, False)
    """
    return kind.startswith(_HTTP)


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
    if is_http_kind(kind):
        answer = kind.removeprefix(_HTTP)
        return answer.isdecimal() and classify(answer) is not AnswerClass.ERROR
    if kind.startswith(_GRPC):
        return classify(answer_of("200", grpc_status=kind.removeprefix(_GRPC))) is not AnswerClass.ERROR
    return False
