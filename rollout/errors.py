"""The error tree. Each class answers: may the same call succeed later, and is the state known?"""


class RolloutError(Exception):
    """All that this project raises on purpose."""


class PlanError(RolloutError):
    """What a person wrote is wrong; nothing was touched."""


class SetupError(RolloutError):
    """The machine lacks something that is needed: a program, a port, a writable folder."""


class UnavailableError(RolloutError):
    """No answer; the same call may succeed later."""


class ConflictError(RolloutError):
    """Changed since it was read; read again, then decide again."""


class NotReadyError(RolloutError):
    """The world did not become what was asked for in the time allowed."""


class NoSamplesError(RolloutError):
    """The query answered, and held no samples."""


class LockedError(RolloutError):
    """Another owner is steering this service."""
