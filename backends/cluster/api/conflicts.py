"""Trying again what lost a race: each attempt reads anew, so that nothing is written over what was not seen."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from rollout.errors import ConflictError

ATTEMPTS: Final = 8
"""Whoever loses so often in a row, a few milliseconds each, meets somebody who writes all the time."""

_PAUSE_SECONDS: Final = 0.005

T = TypeVar("T")
log = logging.getLogger(__name__)


def retry_on_conflict(attempt: Callable[[], T]) -> T:
    """Return what an attempt comes to, made again as long as it ends in a conflict.

    Raises
    ------
    ConflictError
        When every attempt did.
    """
    for number in range(1, ATTEMPTS):
        try:
            return attempt()
        except ConflictError as error:
            log.info("attempt %d of %d: %s", number, ATTEMPTS, error)
            # Two who lost at the same moment must not meet again.
            time.sleep(random.uniform(0, number * _PAUSE_SECONDS))
    return attempt()
