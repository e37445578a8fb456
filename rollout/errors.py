"""The error tree. Each class answers: may the same call succeed later, and is the state known? And what is no error."""

import signal


class Interrupted(BaseException):
    """A signal asked the command to end; no error, so that nothing but a way out catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number
        """As a shell reports a process that a signal ended."""


def cause(stopped: BaseException) -> str:
    """Name what stopped something: a signal by its name, anything else by its kind and its words."""
    kind = "" if isinstance(stopped, Interrupted) else f"{type(stopped).__name__}: "
    return f"{kind}{stopped}".removesuffix(": ")


class RolloutError(Exception):
    """All that this project raises on purpose."""


class PlanError(RolloutError):
    """What a person wrote is wrong; nothing was touched."""


class SetupError(RolloutError):
    """The machine lacks something that is needed: a program, a port, a writable folder."""


class UnavailableError(RolloutError):
    """No answer; the same call may succeed later."""


class AccessDeniedError(UnavailableError):
    """No answer, for want of credentials; the same call may succeed once they are right."""


class DamagedError(RolloutError):
    """What is kept there cannot be read, and no later call will: not ours, cut, or in a form that we do not know."""


class ConflictError(RolloutError):
    """Changed since it was read; read again, then decide again."""


class NotReadyError(RolloutError):
    """The world did not become what was asked for in the time allowed."""


class NoSamplesError(RolloutError):
    """The query answered, and held no samples."""


class LockedError(RolloutError):
    """Another owner is steering this service."""
