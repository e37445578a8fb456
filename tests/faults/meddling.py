"""Faults: what is done to a scene, each ending when the fault is over or stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.scene import PREFECT_PID, Scene

Fault = Callable[[Scene], None]


# -- processes


def send(who: str, number: signal.Signals) -> Fault:
    """Send a process a signal."""

    def do(scene: Scene) -> None:
        scene.strike()
        os.kill(_pid(scene, who), number)
        scene.healed_at = time.time()

    return do


def kill(who: str) -> Fault:
    """End a process without a word."""
    return send(who, signal.SIGKILL)


def terminate(who: str) -> Fault:
    """Ask a process to end."""
    return send(who, signal.SIGTERM)


def stop(who: str, seconds: float) -> Fault:
    """Stop a process for a while."""

    def do(scene: Scene) -> None:
        pid = _pid(scene, who)
        scene.strike()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        scene.healed_at = time.time()

    return do


def _pid(scene: Scene, who: str) -> int:
    match who:
        case "flow" | "guard":
            child: subprocess.Popen[bytes] = getattr(scene, who)
            return child.pid
        case "Prefect's server":
            return int(scene.environment[PREFECT_PID])
        case "canary pod":
            return scene.pods("canary")[0]
        case _:
            return scene.pid(who)


def guard_gone_then_flow(scene: Scene) -> None:
    """Kill the guard and then the flow, and start a guard 3 s later."""
    os.kill(scene.guard.pid, signal.SIGKILL)
    scene.guard.wait()
    kill("flow")(scene)
    time.sleep(3)
    scene.start_guard()


# -- the service


def inject(track: str, fault: str, seconds: float = 0.0) -> Fault:
    """Let a track's pods fail, for a time or for good, by the file that the supervisor reads."""

    def do(scene: Scene) -> None:
        from backends.local.environment import attach
        from rollout.model import Track

        world, which = attach(scene.state), None if track == "both" else Track(track)
        scene.strike()
        world.inject(which, fault)
        if seconds:
            time.sleep(seconds)
            world.inject(which, None)
            scene.healed_at = time.time()

    return do


# -- Prometheus' answers


def spoil(mode: str, seconds: float, then: Fault | None = None) -> Fault:
    """Let Prometheus' answers be spoilt for a while, with another fault in the middle of it."""

    def do(scene: Scene) -> None:
        (scene.folder / "mode").write_text(mode)
        if then is None:
            scene.strike()
            time.sleep(seconds)
        else:
            time.sleep(3)
            then(scene)
            time.sleep(seconds)
        (scene.folder / "mode").write_text("pass")
        if then is None:
            scene.healed_at = time.time()

    return do


def lose_past(scene: Scene) -> None:
    """Delete all that Prometheus has stored, and kill it."""
    scene.strike()
    shutil.rmtree(scene.state / "prometheus" / "data")
    os.kill(scene.pid("prometheus"), signal.SIGKILL)
    scene.healed_at = time.time()


# -- orders


def order(*words: str, times: int = 1) -> Fault:
    """Give an order, or the same one several times at once."""

    def do(scene: Scene) -> None:
        scene.strike()
        with ThreadPoolExecutor(times) as threads:
            done = list(threads.map(lambda _: scene.canary(*words), range(times)))
        if all(one.returncode for one in done):
            scene.notes.append(f"`canary {words[0]}` exits {done[0].returncode}: {done[0].stderr.strip()[-200:]}")

    return do


abort = order("abort", "--reason", "as the matrix says")
restore = order("restore", "--reason", "as the matrix says")


def second_run(scene: Scene) -> None:
    """Start a second rollout while the first is under way: it must be refused, and touch nothing."""
    scene.strike()
    done = scene.canary("run", "--name", "second", "--plan", str(scene.plan_file), "--no-wait")
    scene.healed_at = time.time()
    if done.returncode != 2:
        scene.notes.append(f"a second run exits {done.returncode}, not 2: {(done.stdout + done.stderr).strip()[-200:]}")


def set_share(canary: int) -> Fault:
    """Write other weights past the rollout, as somebody does who knows nothing of it."""

    def do(scene: Scene) -> None:
        from backends.local.environment import attach
        from rollout.model import Weights

        scene.strike()
        attach(scene.state).router.set_weights(Weights.with_canary(canary))
        scene.healed_at = time.time()

    return do


def edit_plan(scene: Scene) -> None:
    """Change the plan's file under a rollout: it is carried out as it began."""
    scene.strike()
    scene.plan_file.write_text(scene.plan.replace("20%", "90%", 1).replace("50%", "95%"))
    scene.healed_at = time.time()


# -- the disk


@contextmanager
def _meanwhile(scene: Scene, then: Fault | None) -> Iterator[None]:
    """Let another fault come a second after this one, without waiting for it: it may need this one's end."""
    with ThreadPoolExecutor(1) as threads:
        coming = threads.submit(lambda: (time.sleep(1), then(scene))) if then is not None else None
        yield
    if coming is not None:
        coming.result()


def fill_disk(seconds: float, then: Fault | None = None) -> Fault:
    """Leave no byte on the state folder's disk, for a while."""

    def do(scene: Scene) -> None:
        filler = scene.state / "filler"
        if then is None:
            scene.strike()
        with suppress(OSError), filler.open("wb", buffering=0) as stream:
            for size in (2**20, 2**12, 1):
                with suppress(OSError):
                    while stream.write(b"0" * size):
                        pass
        with _meanwhile(scene, then):
            time.sleep(seconds)
            filler.unlink(missing_ok=True)
            scene.healed_at = time.time()

    return do


def read_only(seconds: float, then: Fault | None = None) -> Fault:
    """Put a read-only view over the state folder, for a while: files that are open already can still be written."""

    def do(scene: Scene) -> None:
        state = str(scene.state)
        if then is None:
            scene.strike()
        subprocess.run(["mount", "--bind", state, state], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", state], check=True)
        with _meanwhile(scene, then):
            time.sleep(seconds)
            subprocess.run(["umount", "-l", state], check=True)
            scene.healed_at = time.time()

    return do


def delete_folder(scene: Scene) -> None:
    """Delete all of the state folder's content."""
    scene.strike()
    subprocess.run(["find", str(scene.state), "-mindepth", "1", "-delete"], check=False, capture_output=True)
    scene.healed_at = time.time()


def damage(name: str, content: bytes = b"\xff\x00{", then: Fault | None = None) -> Fault:
    """Replace a file's content: `lock`, `position` or `record`, whose third line alone is damaged."""

    def do(scene: Scene) -> None:
        if then is None:
            scene.strike()
        file = _file(scene, name)
        if name == "record":
            lines = file.read_bytes().split(b"\n")
            with file.open("r+b") as stream:  # in place, as a bad block is
                stream.seek(len(b"\n".join(lines[:2])) + 1)
                stream.write(b"\xff" * 5)
        else:
            file.write_bytes(content)
        if then is not None:
            then(scene)

    return do


def delete(name: str, then: Fault | None = None) -> Fault:
    """Delete a file."""

    def do(scene: Scene) -> None:
        if then is None:
            scene.strike()
        _file(scene, name).unlink(missing_ok=True)
        if then is not None:
            then(scene)

    return do


def _file(scene: Scene, name: str) -> Path:
    folder = scene.record_file.parent
    if name == "position":
        return next(file for file in folder.iterdir() if file.name.startswith(("state", "position")))
    return {"lock": scene.state / "lock.json", "record": scene.record_file}[name]


def both(*faults: Fault) -> Fault:
    """One after the other."""

    def do(scene: Scene) -> None:
        for fault in faults:
            fault(scene)

    return do
