"""Counts beside a person's own locustfile, which then runs as it would where it lies.

Locust reads this file before the user's. Its working folder is the one of the counts until here, so that it has read
no `locust.conf` of a stranger; from here on it is the user's, so that relative paths and imports are theirs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from locust import events

from loadtest.load_spec import ORDER_VARIABLE, LoadOrder
from loadtest.worker.allowed_hosts import keep_to
from loadtest.worker.recorder import Books

_OURS = ("loadtest", "rollout")
_LISTENING = "canary_listens"


def _read_no_files(parser: Any, **_: Any) -> None:
    # What is run is what the profile says: a `locust.conf` with `processes` or `run-time` would be another test.
    parser._default_config_files = []


def _give_names_back() -> None:
    """Let the user's own packages be called as ours are."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]


def _begin() -> None:
    order = LoadOrder.model_validate_json(Path(os.environ[ORDER_VARIABLE]).read_bytes())
    books = Books(order)
    books.listen(events)
    keep_to(order.allow, books.refused)
    events.init_command_line_parser.add_listener(_read_no_files)
    if order.workdir is not None:
        os.chdir(order.workdir)
    _give_names_back()
    setattr(events, _LISTENING, True)


if not hasattr(events, _LISTENING):  # Locust loads files twice where it looks for pytest's functions in them
    _begin()
