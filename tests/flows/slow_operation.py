"""A command that takes its time, for the worker that runs commands in its own process."""

import time
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.states import Completed


@flow
def slow_operation(begun: str) -> State[Any]:
    """Say that it has begun, take two seconds, and end."""
    Path(begun).touch()
    time.sleep(2)
    return Completed(name="Done")
