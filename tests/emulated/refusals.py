"""What the API server answers when it does not do what was asked."""

from __future__ import annotations

from typing import Any


class RefusedError(Exception):
    """An answer that is no success, with the status document that a real server sends."""

    def __init__(self, code: int, reason: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason

    @property
    def body(self) -> dict[str, Any]:
        reason = {"reason": self.reason} if self.reason else {}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": self.code}
        return status | {"message": str(self)} | reason


def not_found(plural: str, name: str) -> RefusedError:
    return RefusedError(404, "NotFound", f'{plural} "{name}" not found')


def no_such_kind() -> RefusedError:
    return RefusedError(404, "NotFound", "the server could not find the requested resource")


def conflict(plural: str, name: str, why: str = "") -> RefusedError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    return RefusedError(409, "Conflict", f'Operation cannot be fulfilled on {plural} "{name}": {why}')


def invalid(message: str) -> RefusedError:
    return RefusedError(422, "Invalid", message)
