"""Runs Locust as child processes, and reads what they count. Locust itself is never imported here."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loadtest.allowed_targets import checked_rate, checked_target
from loadtest.command import START_SECONDS, UserLocustfile, locust_commands, locust_environment
from loadtest.exit_reason import describe_exit
from loadtest.load_spec import LoadSpec, Request, base_folder, counts_file, pace_file, windows_file
from loadtest.results import LoadResults, client_counts, load_results
from loadtest.schedule import Stages, steady
from loadtest.stats import LoadStats, merge_processes, parse_stats
from loadtest.windows import Window, parse_windows
from rollout.errors import SetupError, UnavailableError
from rollout.load import ClientCounts

START_SECONDS_OF_A_LOCUSTFILE = 120.0
"""A user's own may read its data and log in before it sends."""
_EXIT_SECONDS = 7.0
_POLL_SECONDS = 0.05
_FEWEST_TRIES = 30
"""Requests that have to fail before nothing is taken to answer."""


def steady_spec(
    url: str, rate: float, *, timeout_seconds: float = 20.0, protocol: Literal["http", "grpc"] = "http"
) -> LoadSpec:
    """Return the specification of GET requests, or unary gRPC calls, at a constant arrival rate, without end.

    Parameters
    ----------
    url
        Where to send requests; a loopback address. Of a gRPC service with the method, such as `/shop.Cart/Get`.
    rate
        Requests a second, above 0, at most 5000.
    timeout_seconds
        When a request without an answer has failed.
    protocol
        What the service speaks.

    Raises
    ------
    PlanError
        A target that is not allowed, or a rate that is none.
    """
    target = checked_target(url)
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    return LoadSpec(
        host=f"{target.scheme}://{target.netloc}",
        protocol=protocol,
        requests=(Request(name=target.path or "/", path=path),),
        stages=steady(checked_rate(rate)),
        timeout_seconds=timeout_seconds,
        window_seconds=0.0,
    )


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A worker that ended by itself."""

    pid: int
    seconds: float
    """Since the load was started."""
    exit_code: int


class LoadRun:
    """A load under way: a `rollout.ports.LoadGenerator`.

    Parameters
    ----------
    spec
        What to send.
    folder
        Where the children keep their counts, statistics and log. Created when missing.
    locustfile
        A person's own, in place of the specification's requests.
    """

    def __init__(self, spec: LoadSpec, folder: Path, *, locustfile: UserLocustfile | None = None) -> None:
        self._folder = folder.absolute()
        own = {"workdir": locustfile.workdir.absolute()} if locustfile else {}
        self._order = spec.model_copy(update={"parent": os.getpid(), "folder": self._folder, **own})
        self._locustfile = locustfile
        self._exit_code: int | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._began = 0.0
        self._lost: dict[int, LostWorker] = {}
        self._earlier = LoadStats()
        """What was counted before the last restart."""

    @property
    def pid(self) -> int | None:
        """The process id of the child that leads while it runs."""
        return self._children[0].pid if self._running() else None

    @property
    def exit_code(self) -> int | None:
        """How the child that led ended; None while it runs, and where it had to be killed."""
        return self._children[0].poll() if self._children else self._exit_code

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run."""
        return tuple(child.pid for child in self._children[1:] if child.poll() is None)

    def start(self, *, any_answer: bool = False) -> None:
        """Begin to send. Returns once the service answers requests.

        Parameters
        ----------
        any_answer
            Whether errors are answers too.

        Raises
        ------
        SetupError
            Locust could not run here; the message holds its last words.
        UnavailableError
            It runs, but nothing answers at the URL.
        """
        if self._running():
            return
        self._earlier = LoadStats()
        try:
            self._spawn()
            self._wait_for_answers(any_answer=any_answer)
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Begin again at the last pace after it ended by itself, with the counts so far. Returns at once.

        Raises
        ------
        SetupError
            The processes could not be started.
        """
        if self._running():
            return
        self.stop()
        self._earlier = self.stats()
        self._spawn(keeps_pace=True)

    def set_pace(self, stages: Stages) -> None:
        """Go on at another pace, within half a second."""
        fresh = pace_file(self._folder).with_suffix(".new")
        fresh.write_text(LoadSpec(stages=stages).model_dump_json(include={"stages"}))
        fresh.replace(pace_file(self._folder))

    def set_rate(self, rate: float) -> None:
        """Go on at another constant rate, in requests a second, within half a second; 0 sends nothing."""
        self.set_pace(steady(rate))

    def counts(self) -> ClientCounts:
        """Return what has been counted, as a rollout needs to know it."""
        return client_counts(self.stats())

    def wait(self, seconds: float) -> bool:
        """Return whether all has been sent; False when the time is up before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.stats().done or not self._running():
                return self._running()
            time.sleep(_POLL_SECONDS)
        return False

    def wait_ended(self, seconds: float) -> None:
        """Wait until it has ended by itself, or the time is up."""
        until = time.monotonic() + seconds
        while self._running() and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End the load, and wait until it has ended: requests under way get three seconds to be answered."""
        self._note_lost()
        children, self._children = self._children, []
        leader = children[0] if children else None
        for child in children[:1]:  # the master tells its workers
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        until = time.monotonic() + self._order.grace_seconds + _EXIT_SECONDS
        for child in children:
            try:
                child.wait(max(until - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                continue
            if child is leader:
                self._exit_code = child.returncode

    def results(self) -> LoadResults:
        """Return what has been counted: to the last request after `stop`, up to a second old before."""
        return load_results(self.stats())

    def stats(self) -> LoadStats:
        """Return the counts of all processes together."""
        self._note_lost()
        processes = _process_stats(self._folder)
        for pid in self._lost:
            if process := processes.get(counts_file(Path(), pid).stem):
                process.done = True  # nothing more is to come from it
        total = merge_processes(processes.values())
        seconds = total.seconds + self._earlier.seconds
        total.merge(self._earlier)
        total.seconds = seconds
        return total

    def windows(self) -> list[Window]:
        """Return the counts over time."""
        return parse_windows(_window_lines(self._folder))

    def base_stats(self) -> LoadStats:
        """Return the counts of the base, of all processes together."""
        return merge_processes(_process_stats(base_folder(self._folder)).values())

    def base_windows(self) -> list[Window]:
        """Return the counts of the base over time."""
        return parse_windows(_window_lines(base_folder(self._folder)))

    @property
    def lost(self) -> tuple[LostWorker, ...]:
        """Workers that ended by themselves; the others took over what was still due."""
        self._note_lost()
        return tuple(self._lost.values())

    def _note_lost(self) -> None:
        for child in self._children[1:]:
            if child.poll() is not None and child.pid not in self._lost:
                self._lost[child.pid] = LostWorker(child.pid, time.monotonic() - self._began, child.returncode)

    def _running(self) -> bool:
        return bool(self._children) and self._children[0].poll() is None

    def _spawn(self, *, keeps_pace: bool = False) -> None:
        self._lost, self._began, self._exit_code = {}, time.monotonic(), None
        stale = [counts_file(Path(), 0), windows_file(Path(), 0), *([] if keeps_pace else [pace_file(Path())])]
        try:
            for folder in (self._folder, *([base_folder(self._folder)] if self._order.base_host else [])):
                folder.mkdir(parents=True, exist_ok=True)
                for pattern in stale:
                    for path in folder.glob(pattern.name.replace("0", "*")):
                        path.unlink()
            self._spec_file.write_text(self._order.model_dump_json())
            for number, command in enumerate(locust_commands(self._order, self._locustfile)):
                self._children.append(self._child(number, command))
        except OSError as error:
            raise SetupError(f"start locust in {self._folder}: {error}") from error

    def _child(self, number: int, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log(number).open("wb") as log:
            return subprocess.Popen(
                command,
                env=locust_environment(self._spec_file),
                cwd=self._folder,  # elsewhere Locust would read a stranger's locust.conf or pyproject.toml
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is for the parent to handle
            )

    def _wait_for_answers(self, *, any_answer: bool) -> None:
        until = time.monotonic() + (START_SECONDS_OF_A_LOCUSTFILE if self._locustfile else START_SECONDS)
        while time.monotonic() < until:
            stats = self.stats()
            results, base = load_results(stats), load_results(self.base_stats())
            failed = results.broken if any_answer else results.unanswered_failures
            if results.requests > failed and (not self._order.base_host or base.requests > base.broken):
                return
            if not failed and (stats.raised or stats.refused):
                return  # whatever a user's locustfile does then, it is seen
            if not self._running():
                raise SetupError(f"locust ended before it sent a request: {self.exit_reason}")
            if self._locustfile and (stats.finished or stats.done):
                ended = "it ended the test" if stats.finished else "all its users ended"
                raise SetupError(f"the locustfile sent no request: {ended} before")
            if max(failed, base.broken) >= _FEWEST_TRIES:
                break
            time.sleep(_POLL_SECONDS)
        raise UnavailableError(self._describe_no_answer(any_answer=any_answer))

    def _describe_no_answer(self, *, any_answer: bool) -> str:
        host, results = self._order.host, self.results()
        if results.requests > (results.broken if any_answer else results.unanswered_failures):
            host, results = self._order.base_host, load_results(self.base_stats())
        kinds = ", ".join(f"{kind} ({count})" for kind, count in results.errors.items())
        return f"load {host}: no answer; seen: {kinds or 'nothing, not even an error'}"

    @property
    def exit_reason(self) -> str:
        """Why the processes ended, in a sentence."""
        lines = [line for number in range(9) for line in _lines(self._log(number))]
        return describe_exit(lines, self.exit_code)

    def _log(self, number: int) -> Path:
        return self._folder / ("locust.log" if number == 0 else f"locust-{number}.log")

    @property
    def _spec_file(self) -> Path:
        return self._folder / "order.json"


def _process_stats(folder: Path) -> dict[str, LoadStats]:
    return {path.stem: parse_stats(path.read_text()) for path in folder.glob("counts-*.json")}


def _window_lines(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob(windows_file(Path(), 0).name.replace("0", "*"))):
        with path.open() as lines:
            yield from lines


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
