"""What a person filled into a form, refused with our own words before anything is touched."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

from prefect import State
from prefect.context import FlowRunContext
from prefect.exceptions import FailedRun
from prefect.states import Failed
from pydantic import TypeAdapter, ValidationError

from rollout.document import mistakes
from rollout.errors import LockedError, PlanError, RolloutError

T = TypeVar("T")
_LOGGERS = ("conductor", "flows", "wiring")
"""Whose log lines a person reads on the run's page; see PREFECT_LOGGING_EXTRA_LOGGERS in prefect.yaml."""

_ENGINE_LOGGERS = ("prefect.flow_runs", "prefect.engine")
"""Who logs a failed state of ours as an exception."""


def log_to_prefect() -> None:
    """Let the rollout's own log lines reach the run's page, where a worker runs the flow."""
    context = FlowRunContext.get()
    if context and context.flow_run and context.flow_run.deployment_id:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.INFO)
        for name in _ENGINE_LOGGERS:
            logging.getLogger(name).addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a log line says more than the final state that we gave a run: its traceback does not."""
    return not (record.exc_info and isinstance(record.exc_info[1], RolloutError | FailedRun))


def filled_in(field: str, value: object, kind: type[T]) -> T:
    """Return what a field of the form holds.

    Prefect's own validation is off in our flows: it would end a run with a traceback.

    Parameters
    ----------
    field
        Its name, for the message.
    value
        Plain data, or the value itself where the flow was called by our own code.
    kind
        What it has to be.

    Raises
    ------
    PlanError
        One line a mistake: field, value, what is allowed.
    """
    adapter: TypeAdapter[T] = TypeAdapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise PlanError(mistakes(error, source=field, schema="the form", whole=kind)) from error


def refused(error: RolloutError) -> State[Any]:
    """Return the final state that says why nothing was done; outside a flow run the error is raised."""
    if FlowRunContext.get() is None:
        raise error
    name = "Refused" if isinstance(error, PlanError | LockedError) else "Failed"
    return Failed(name=name, message=str(error), data=error)
