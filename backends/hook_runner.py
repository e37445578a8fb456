"""Hooks for real: a request from a thread, or a command in a session of its own, both ended when their time is up."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Final

import httpx

from rollout.hooks import Hook
from rollout.ports import HookOutcome, RunningHook

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 0.5
"""After a SIGTERM: nobody looks at the rollout meanwhile, so that it has to be below a scrape."""
_MOST_LOGGED: Final = 2000
"""Characters of a command's output that go to the log."""


@dataclass(frozen=True, slots=True)
class HookRunner:
    """Hooks that run on this machine and from it."""

    refused: tuple[Hook, ...] = ()
    """Those whose commands may not run here."""

    def start(self, hook: Hook, payload: str) -> RunningHook:
        """Begin a hook; one that cannot begin has failed."""
        if hook.url:
            return _Request.begin(hook, payload)
        if hook in self.refused:
            return _Failed(f"may not run {hook.command[0]} here: no plan file of this machine has this hook")
        try:
            return _Command.begin(hook, payload)
        except OSError as error:
            return _Failed(f"cannot run {hook.command[0]}: {error.strerror}")


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str

    def outcome(self) -> HookOutcome:
        return HookOutcome(ok=False, reason=self.reason)

    def stop(self) -> None:
        return


@dataclass(slots=True)
class _Request:
    """A POST under way; its answer's body is read by nobody."""

    client: httpx.Client
    result: HookOutcome | None = None

    @classmethod
    def begin(cls, hook: Hook, payload: str) -> _Request:
        request = cls(httpx.Client(timeout=hook.timeout.total_seconds(), follow_redirects=False))
        threading.Thread(target=request.post, args=(hook.url, payload), name=f"hook {hook.name}", daemon=True).start()
        return request

    def post(self, url: str, payload: str) -> None:
        try:
            with self.client.stream(
                "POST", url, content=payload, headers={"content-type": "application/json"}
            ) as response:
                self.result = HookOutcome(ok=response.is_success, reason=f"answered {response.status_code}")
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:  # the latter when it was stopped meanwhile
            self.result = HookOutcome(ok=False, reason=f"got no answer: {type(error).__name__}")

    def outcome(self) -> HookOutcome | None:
        return self.result

    def stop(self) -> None:
        with suppress(RuntimeError):
            self.client.close()


@dataclass(slots=True)
class _Command:
    """A command under way, in a process group that can be ended as a whole."""

    name: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    result: HookOutcome | None = field(default=None)

    @classmethod
    def begin(cls, hook: Hook, payload: str) -> _Command:
        # Files and not pipes: whoever does not read its input, or writes much, never stands still for it.
        output = tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        with tempfile.TemporaryFile() as payload_file:
            payload_file.write(payload.encode())
            payload_file.seek(0)
            try:
                process = subprocess.Popen(
                    hook.command, stdin=payload_file, stdout=output, stderr=output, start_new_session=True
                )
            except OSError:
                output.close()
                raise
        return cls(hook.name, process, output)

    def outcome(self) -> HookOutcome | None:
        if self.result is None and (code := self.process.poll()) is not None:
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            self.result = HookOutcome(ok=code == 0, reason=f"ended with {how}")
            self._log_output()
        return self.result

    def stop(self) -> None:
        """End what is left of its group, kindly first; also what it has left in the background."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.outcome()  # what it wrote goes to the log, however it ended
        self.output.close()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def _log_output(self) -> None:
        self.output.seek(0)
        if result := self.output.read(_MOST_LOGGED).decode(errors="replace").strip():
            log.info("hook %s: %s", self.name, result)
