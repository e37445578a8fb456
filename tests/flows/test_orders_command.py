"""`canary status`, `abort`, `restore`, `resume`, `guard` as a person types them, where there is nothing to order."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

import cli.main
from cli.main import ROOMS

CANARY = Path(sys.executable).parent / "canary"
DEMO = Path("demo.yaml").absolute()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["watch"], 1, "no local world there; start one, or name its folder"),
        (["metrics"], 1, "no local world there; start one, or name its folder"),
        (["status"], 1, "no local world there; start one, or name its folder"),
        (["pause"], 1, "no local world there; start one, or name its folder"),
        (["complain", "shop", "--count", "0"], 2, "--count: got '0'"),
        (["run", "--plan", str(DEMO)], 2, "canary up, or canary demo for all in one"),
        (["guard", "--once", "--every", "soon"], 2, "--every: got 'soon', allowed: a duration"),
        (["guard", "--every", "1ms"], 2, "--every: got '1ms', allowed: 1s or more"),
        (["abort", "--backend", "cluster", "--plan", "missing.yaml"], 2, "missing.yaml: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    where = [] if "cluster" in words else ["--backend", "local", "--state", str(tmp_path)]
    done = subprocess.run([CANARY, *words, *where], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_guard_that_could_not_look_does_not_say_that_all_is_well(tmp_path: Path) -> None:
    words = [CANARY, "guard", "--once", "--state", str(tmp_path), "--backend", "local", "--plan", str(DEMO)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "cannot look now" in done.stdout + done.stderr


def test_no_command_loads_what_another_one_needs_and_none_prefect() -> None:
    slow = {"prefect", "numpy", "scipy", "pandas", "kubernetes", "apprise", "locust", "uvicorn", "httpx", "jinja2"}
    look = f"import sys, {', '.join(ROOMS)}; print(*sorted({slow} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


@pytest.mark.parametrize("room", ROOMS)
def test_each_command_is_found_in_the_room_that_is_said_to_have_it(room: str) -> None:
    app = cli.main.app if room == "cli.main" else typer.Typer()
    if room != "cli.main":
        import_module(room).register(app)
    found = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}

    assert set(ROOMS[room]) <= found if room == "cli.main" else set(ROOMS[room]) == found


def test_no_order_waits_for_what_notices_hooks_and_the_judge_need() -> None:
    loaded = "import sys, cli.emergency, cli.signal, conductor.commands.status"
    slow = {"apprise", "backends.hook_runner", "pandas", "scipy", "numpy", "analysis.judge"}
    look = f"{loaded}; sys.exit(bool({slow} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
