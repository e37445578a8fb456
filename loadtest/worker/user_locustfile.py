"""Counts the requests of a person's own locustfile, which then runs as it would where it lies.

Locust reads this file before the user's. Its working folder is the one of the counts until here, so that it has read
no `locust.conf` of a stranger; from here on it is the user's, so that relative paths and imports are theirs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from locust import events

from loadtest.load_spec import SPEC_VARIABLE, LoadSpec
from loadtest.worker.allowed_hosts import restrict_hosts
from loadtest.worker.recorder import Recorder

_OWN_PACKAGES = ("loadtest", "rollout")
_STARTED = "canary_listens"


def _ignore_config_files(parser: Any, **_: Any) -> None:
    # What is run is what the profile says: a `locust.conf` with `processes` or `run-time` would be another test.
    parser._default_config_files = []


def _unload_own_modules() -> None:
    """Let the user's own packages be called as ours are."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _OWN_PACKAGES]:
        del sys.modules[name]


def _start() -> None:
    spec = LoadSpec.model_validate_json(Path(os.environ[SPEC_VARIABLE]).read_bytes())
    recorder = Recorder(spec)
    recorder.attach(events)
    restrict_hosts(spec.allow, recorder.record_refused)
    events.init_command_line_parser.add_listener(_ignore_config_files)
    if spec.workdir is not None:
        os.chdir(spec.workdir)
    _unload_own_modules()
    setattr(events, _STARTED, True)


if not hasattr(events, _STARTED):  # Locust loads files twice where it looks for pytest's functions in them
    _start()
