"""One rollout under fire, by the product's own commands as child processes, with an observer beside it.

What is asked of the product's files is read here as plain JSON, apart from the code that wrote it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[2]
CANARY = str(Path(sys.executable).with_name("canary"))
PREFECT_PID = "MATRIX_PREFECT_PID"
"""In a scene's environment: the process id of Prefect's server."""
STABLE_PODS = 2
SHARES = {"introduce": 20, "increase": 50, "full": 100}
RATE = 200.0
WARM_REQUESTS = 600
"""Before the rollout begins, so that Prometheus knows some when it is asked first."""
_POLL_SECONDS = 0.03
_UP_SECONDS = 90.0

Event = dict[str, Any]


def plan_text(*, policy: str = "restore", has: Collection[str] = (), retention: str = "10m") -> str:
    """Return a plan of about 20 s whose criteria do not mind how busy the machine is.

    It `has` what is named besides: `approval`, `mirror`, `hook`, `load`.
    """
    steps = [
        {"name": name, "canary": f"{share}%", "replicas": 1 if share == 20 else 2, "bake": "3s", "deadline": "45s"}
        for name, share in SHARES.items()
    ]
    steps[-1]["bake"] = "6s"  # a word that is said in it has to come before the promotion
    if "approval" in has:
        steps[0] |= {"approval": {"within": "10m"}, "deadline": "2m"}
    plan: dict[str, Any] = {
        "service": "canary-app",
        "stable": {"version": "v1", "replicas": STABLE_PODS},
        "canary": {"version": "v2"},
        "baseline": {"observe": "3s"},
        "steps": steps,
        "retention": retention,
        "criteria": {
            "errors": {"healthy_below": "10%", "rollback_above": "20%"},
            "success": {"healthy_above": "85%"},
            "latency": {"statistic": "mean", "healthy_below": "1s", "rollback_above": "3s"},
            "pods": {"restarts": 2, "within": "5m"},
        },
        "minimum_effect": {"latency": "100%"},
        "beta": "40%",
        "scrape": "1s",
        "warm_up": "1s",
        "timeout": "5s",
        "when_inconclusive": "pause",
        "when_orphaned": policy,
    }
    if "mirror" in has:
        plan["mirror"] = {"share": "50%", "bake": "5s"}
    if "hook" in has:
        plan["hooks"] = [{"name": "slow", "when": "before-step", "steps": ["introduce"], "command": ["sleep", "5"]}]
    if "load" in has:
        plan["load"] = {"mode": "constant", "rate": 40}
    return yaml.safe_dump(plan, sort_keys=False)


@dataclass
class Scene:
    """A state folder with all that runs on it."""

    folder: Path
    plan: str
    parts: ExitStack
    is_hostile: bool = False
    """Whether somebody stands between Prometheus and who asks it."""
    on_tmpfs: bool = False
    """Whether the state folder is a small file system of its own."""
    name: str = "r"
    """Of the rollout."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the rollout alone, such as the address of Prefect's server."""
    flow: subprocess.Popen[bytes] = field(init=False)
    guard: subprocess.Popen[bytes] = field(init=False)
    observer: subprocess.Popen[bytes] = field(init=False)
    up: subprocess.Popen[bytes] = field(init=False)
    struck_at: float = 0.0
    """When the fault came, in seconds since the epoch."""
    healed_at: float = 0.0
    """When it was over; 0 where it stays."""
    notes: list[str] = field(default_factory=list)
    """What a fault saw that is not right, such as a second owner."""

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    @property
    def plan_file(self) -> Path:
        """The plan's file."""
        return self.folder / "plan.yaml"

    def start(self) -> None:
        """Start gateway, Prometheus, pods, observer and guard; end all of them with the scene's parts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state.mkdir()
        self.plan_file.write_text(self.plan)
        if self.on_tmpfs:
            _call("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(self.state))
            self.parts.callback(_unmount, self.state)
        self.parts.callback(self._end_all)
        self.up = self._child(["up", "--plan", str(self.plan_file), "--rate", "0"], self._with_prometheus())
        self.wait(lambda: self._is_up(), "the embedded backend is up", _UP_SECONDS)
        seen = json.loads((self.state / "observed.json").read_text())
        ports = ["--gateway", str(seen["gateway_port"]), "--admin", str(seen["admin_port"])]
        command = [
            sys.executable,
            "-m",
            "tests.faults.observer",
            *ports,
            "--rate",
            str(RATE),
            "--out",
            str(self.folder),
        ]
        self.observer = self._process(command)
        self.start_guard()
        self.wait(lambda: len(self.requests()) > WARM_REQUESTS, "the first requests are answered", _UP_SECONDS)

    def start_guard(self) -> None:
        """Start a guard that looks every second."""
        self.guard = self._child(["guard", "--every", "1s"])

    def start_flow(self) -> None:
        """Begin the rollout."""
        words = ["run", "--name", self.name, "--plan", str(self.plan_file), "--backend", "local", "--no-wait"]
        self.flow = self._child(words, self.environment)

    def canary(self, *words: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Give an order, as a person types it, and return what came of it."""
        command = [CANARY, *words, "--backend", "local", "--state", str(self.state)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._env(), cwd=ROOT, check=False, timeout=seconds
        )
        with (self.folder / "orders.log").open("a") as log:
            log.write(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}exit {done.returncode}\n")
        if "Traceback" in done.stdout + done.stderr:
            self.notes.append(f"`canary {words[0]}` ended with a traceback")
        return done

    def strike(self) -> None:
        """Note that the fault comes now."""
        self.struck_at = self.struck_at or time.time()

    # -- what stands in the files

    @property
    def record_file(self) -> Path:
        """The rollout's events."""
        return self.state / "rollouts" / self.name / "events.jsonl"

    def events(self) -> list[Event]:
        """Return the events that can be read, whatever the rest looks like."""
        try:
            lines = self.record_file.read_bytes().split(b"\n")
        except OSError:
            return []
        found = []
        for line in lines:
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "kind" in event:
                    found.append(event)
        return found

    def has(self, kind: str, **values: Any) -> bool:
        """Return whether the record has an event of a kind with these values."""
        return any(
            event["kind"] == kind and all(event.get(name) == value for name, value in values.items())
            for event in self.events()
        )

    def looks(self) -> list[dict[str, Any]]:
        """Return what the observer saw of the gateway."""
        return _lines(self.folder / "looks.jsonl")

    def requests(self) -> list[dict[str, Any]]:
        """Return what became of each request."""
        return _lines(self.folder / "requests.jsonl")

    def wait(self, condition: Callable[[], object], what: str, seconds: float) -> bool:
        """Wait until something is so; raise where it does not come to pass."""
        if not self.await_(condition, seconds):
            raise TimeoutError(f"{what}: not within {seconds:g} s; see {self.folder}")
        return True

    def await_(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until something is so, and return whether it is."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    # -- processes, found by the kernel's own list

    def pid(self, name: str) -> int:
        """Return the process id of `supervisor`, `envoy`, `prometheus` or `locust`."""
        found = [process.pid for process in self._processes() if _is(process, name, str(self.state))]
        if not found:
            raise LookupError(f"no {name} runs")
        return found[0]

    def pods(self, track: str) -> list[int]:
        """Return the process ids of a track's pods."""
        supervisor = psutil.Process(self.pid("supervisor"))
        return [
            child.pid
            for child in supervisor.children()
            if "sample" in child.cmdline() and child.environ().get("TRACK") == track
        ]

    def _processes(self) -> Iterator[psutil.Process]:
        roots = [one for one in (self.up, getattr(self, "flow", None)) if one is not None and one.poll() is None]
        for root in roots:
            with suppress(psutil.Error):
                yield from psutil.Process(root.pid).children(recursive=True)

    def left_behind(self) -> list[str]:
        """Return the command lines of processes that still have to do with this folder."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd", "pid", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            where = f"{line} {process.info['cwd'] or ''}"
            if str(self.folder) in where and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(line[:160])
        return found

    def end(self) -> None:
        """End everything as a person does, the observer first."""
        for child in (self.observer, self.guard, getattr(self, "flow", None), self.up):
            if child is not None:
                _end(child)

    def _end_all(self) -> None:
        self.end()
        for process in psutil.process_iter(["cmdline"]):
            if str(self.folder) in " ".join(process.info["cmdline"] or []) and process.pid != os.getpid():
                with suppress(psutil.Error):
                    process.kill()

    def _is_up(self) -> bool:
        if self.up.poll() is not None:
            raise RuntimeError(f"`canary up` ended: {(self.folder / 'processes.log').read_text()[-500:]}")
        return "in another terminal" in (self.folder / "processes.log").read_text()

    def _with_prometheus(self) -> dict[str, str]:
        if not self.is_hostile:
            return {}
        tools = self.folder / "bin"
        tools.mkdir()
        script = tools / "prometheus"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.faults.hostile_prometheus "$@"\n')
        script.chmod(0o755)
        real = shutil.which("prometheus") or str((ROOT / ".tools" / "prometheus").resolve())
        path = f"{tools}:{os.environ['PATH']}"
        return {"PATH": path, "REAL_PROMETHEUS": real, "HOSTILE_MODE": str(self.folder / "mode")}

    def _child(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        return self._process([CANARY, *words, "--state", str(self.state)], environment)

    def _process(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / "processes.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env(environment),
                cwd=ROOT,
                start_new_session=True,
            )

    def _env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        quiet = {"PREFECT_API_URL": "", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        return {**os.environ, **quiet, **(more or {})}


def _is(process: psutil.Process, name: str, state: str) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    line = " ".join(words)
    match name:
        case "supervisor":
            return "backends.local.supervisor" in line and state in line
        case "envoy":
            return bool(words) and Path(words[0]).name == "envoy" and state in line
        case "prometheus":
            return f"--storage.tsdb.path={state}" in line and "hostile" not in line
        case _:
            return name in line


def _lines(file: Path) -> list[dict[str, Any]]:
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        with suppress(ValueError):  # the last one may be under way
            found.append(json.loads(line))
    return found


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGCONT)
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _unmount(path: Path) -> None:
    while subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True).returncode == 0:
        pass


@contextmanager
def scene(folder: Path, plan: str, **options: Any) -> Iterator[Scene]:
    """Give a scene whose backend is up; nothing of it is left afterwards."""
    with ExitStack() as parts:
        found = Scene(folder, plan, parts, **options)
        found.start()
        yield found
