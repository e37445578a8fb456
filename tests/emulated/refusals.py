"""What the API server answers when it does not do what was asked."""

from __future__ import annotations

from typing import Any

from tests.emulated.kinds import titled


class RefusedError(Exception):
    """An answer that is no success, with the status document, or the plain page, that a real server sends."""

    def __init__(self, code: int, reason: str | None, message: str, *, is_page: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.is_page = is_page

    @property
    def body(self) -> dict[str, Any] | str:
        if self.is_page:
            return str(self)
        reason = {"reason": self.reason} if self.reason else {}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": self.code}
        return status | {"message": str(self)} | reason


def not_found(plural: str, name: str) -> RefusedError:
    return RefusedError(404, "NotFound", f'{titled(plural)} "{name}" not found')


def no_such_kind() -> RefusedError:
    return RefusedError(404, "NotFound", "404 page not found", is_page=True)


def conflict(plural: str, name: str, why: str = "") -> RefusedError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    return RefusedError(409, "Conflict", f'Operation cannot be fulfilled on {titled(plural)} "{name}": {why}')


def invalid(message: str) -> RefusedError:
    return RefusedError(422, "Invalid", message)
