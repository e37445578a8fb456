"""Runs Locust as a child process, and reads what it counts. Locust itself is never imported here."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from loadtest.results import LoadResults, load_results
from loadtest.tally import parse_tally
from rollout.errors import PlanError, SetupError, UnavailableError

HIGHEST_RATE = 5000
"""Requests a second: above what one process can send, so a higher figure is a slip of the pen."""

_START_SECONDS = 30.0
_GRACE_SECONDS = 3.0
_KILL_SECONDS = _GRACE_SECONDS + 7.0


class LoadRun:
    """A constant arrival rate of GET requests at one URL: a `rollout.ports.LoadGenerator`.

    Parameters
    ----------
    url
        Where to send requests; a loopback address, since nothing else has been allowed.
    rate
        Requests a second, above 0, at most 5000.
    folder
        Where the child keeps its counts, statistics and log. Created when missing.
    timeout_seconds
        When a request without an answer has failed.

    Raises
    ------
    PlanError
        A target that is not allowed, or a rate that is none.
    """

    def __init__(self, url: str, rate: float, folder: Path, *, timeout_seconds: float = 20.0) -> None:
        self._target = _checked_target(url)
        self._rate = _checked_rate(rate)
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self._running() and self._child else None

    def start(self) -> None:
        """Begin to send. Returns once the service answers requests.

        Raises
        ------
        SetupError
            Locust could not run here; the message holds its last words.
        UnavailableError
            It runs, but nothing answers at the URL.
        """
        if self._running():
            return
        self._spawn()
        try:
            self._wait_for_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the load, and wait until it has ended: requests under way get three seconds to be answered."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        try:
            child.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def results(self) -> LoadResults:
        """Return what has been counted: to the last request after `stop`, up to a second old before."""
        try:
            return load_results(parse_tally(self._counts.read_text()))
        except FileNotFoundError:
            return LoadResults()

    @property
    def _counts(self) -> Path:
        return self._folder / "counts.json"

    @property
    def _log(self) -> Path:
        return self._folder / "locust.log"

    def _running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _spawn(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._counts.unlink(missing_ok=True)
            with self._log.open("wb") as log:
                self._child = subprocess.Popen(
                    self._command(),
                    env=self._environment(),
                    cwd=self._folder,  # elsewhere Locust would read a stranger's locust.conf or pyproject.toml
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C at the terminal is for the parent to handle
                )
        except OSError as error:
            raise SetupError(f"start locust in {self._folder}: {error}") from error

    def _command(self) -> list[str]:
        locustfile = Path(__file__).with_name("locustfile.py")
        host = f"{self._target.scheme}://{self._target.netloc}"
        return [
            *(sys.executable, "-m", "locust", "--headless", "--only-summary", "--users", "1", "--spawn-rate", "1"),
            *("--locustfile", str(locustfile), "--host", host, "--exit-code-on-error", "0", "--json-file", "locust"),
        ]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
        path = self._target.path or "/"
        return kept | {
            "CANARY_LOAD_PATH": f"{path}?{self._target.query}" if self._target.query else path,
            "CANARY_LOAD_RATE": repr(self._rate),
            "CANARY_LOAD_COUNTS": str(self._counts.absolute()),
            "CANARY_LOAD_PARENT": str(os.getpid()),
            "CANARY_LOAD_TIMEOUT": repr(self._timeout_seconds),
            "CANARY_LOAD_GRACE": repr(_GRACE_SECONDS),
        }

    def _wait_for_answers(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            results = self.results()
            if results.requests > results.unanswered_failures:
                return
            if not self._running():
                raise SetupError(f"locust ended before it sent a request: {self._last_words()}")
            if results.unanswered_failures > 3 * self._rate:
                break
            time.sleep(0.05)
        raise UnavailableError(f"load {self._target.geturl()}: no answer; seen: {self._seen()}")

    def _seen(self) -> str:
        return ", ".join(f"{kind} ({count})" for kind, count in self.results().errors.items()) or self._last_words()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing"


def _checked_rate(rate: float) -> float:
    if not 0 < rate <= HIGHEST_RATE:
        raise PlanError(f"load rate is {rate:g}, allowed: above 0, at most {HIGHEST_RATE} requests a second")
    return float(rate)


def _checked_target(url: str) -> SplitResult:
    allowed = "allowed: http:// or https:// at a loopback address, such as http://127.0.0.1:8080/"
    try:
        target = urlsplit(url)
        loopback = target.hostname is not None and _is_loopback(target.hostname)
        target.port  # noqa: B018  (raises on a port that is none)
    except ValueError as error:
        raise PlanError(f"load url is {url!r}: {error}, {allowed}") from error
    if target.scheme not in ("http", "https") or not loopback:
        raise PlanError(f"load url is {url!r}, {allowed}")
    return target


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback
