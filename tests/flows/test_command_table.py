"""`canary status`, `abort`, `restore`, `resume`, `guard` as a person types them, where there is nothing to order."""

from __future__ import annotations

import os
import subprocess
import sys
from inspect import getdoc
from pathlib import Path

import pytest

from cli.command_line import command_function, load_command
from cli.command_table import COMMANDS

ROOT = Path(__file__).parents[2]
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


def loaded_by(code: str) -> set[str]:
    """Return the modules that a process of its own has loaded after some code, whatever it prints."""
    look = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {code}"
    return set(subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False).stderr.split())


def loaded_by_canary(*words: str) -> set[str]:
    return loaded_by(f"sys.argv = {['canary', *words]}; from cli.command_line import run as main; main()")


SLOW = {"prefect", "numpy", "scipy", "pandas", "kubernetes", "apprise", "locust", "uvicorn", "httpx", "jinja2"}


def test_no_command_loads_what_another_one_needs_and_none_prefect() -> None:
    modules = ", ".join(f"cli.commands.{command.module}" for command in COMMANDS.values())

    assert loaded_by(f"import {modules}") & SLOW == set()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["abrot"], ["--no-such-option"]])
def test_help_version_and_a_typo_load_no_command_and_nothing_that_one_needs(words: list[str]) -> None:
    loaded = loaded_by_canary(*words)

    assert "cli.command_table" in loaded
    assert loaded & (SLOW | {"yaml", "pydantic_settings", "rollout.plan", "wiring.settings"}) == set()
    assert not any(name.startswith("cli.commands.") for name in loaded)


@pytest.mark.parametrize("typed", ["canary ", "canary ab"])
def test_completion_of_a_commands_name_loads_no_command(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CANARY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", "1")

    loaded = loaded_by_canary()

    assert "cli.command_table" in loaded
    assert loaded & (SLOW | {"pydantic_settings", "rollout.plan"}) == set()
    assert not any(name.startswith("cli.commands.") for name in loaded)


def test_completion_knows_commands_and_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CANARY_COMPLETE", "complete_bash")

    def completed(line: str, word: int) -> set[str]:
        env = os.environ | {"COMP_WORDS": line, "COMP_CWORD": str(word)}
        done = subprocess.run([CANARY], capture_output=True, text=True, env=env, check=False)
        return set(done.stdout.split())

    assert completed("canary re", 1) >= {"refuse", "report", "restore", "resume"}
    assert {"--kubeconfig", "--context"} <= completed("canary abort --", 2)


def test_a_command_is_loaded_alone() -> None:
    loaded = {name for name in loaded_by_canary("status", "--help") if name.startswith("cli.commands.")}

    assert loaded == {"cli.commands.status"}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_where_the_table_says_and_does_what_it_says(name: str) -> None:
    documentation = getdoc(command_function(name))

    assert (documentation or COMMANDS[name].purpose).splitlines()[0] == COMMANDS[name].purpose
    assert load_command(name).help.splitlines()[0] == COMMANDS[name].purpose


def test_no_module_of_a_command_is_without_one() -> None:
    modules = {file.stem for file in (ROOT / "cli" / "commands").glob("*.py")} - {"__init__"}

    assert modules == {command.module for command in COMMANDS.values()}


def test_no_command_to_a_rollout_waits_for_what_notices_hooks_and_the_judge_need() -> None:
    loaded = loaded_by(
        "import cli.commands.abort, cli.commands.status, cli.commands.signals, conductor.commands.status"
    )

    assert loaded & {"apprise", "backends.hook_runner", "pandas", "scipy", "numpy", "analysis.judge"} == set()
