"""A wrong command line is one line, never a box and never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

CANARY = Path(sys.executable).with_name("canary")


def _canary(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CANARY, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["demo", "--rate", "abc"], "--rate: got 'abc', allowed: a valid number (see canary demo --help)"),
        (["demo", "--rate", "0"], "--rate: got '0', allowed: greater than or equal to 1 (see canary demo --help)"),
        (["demoo"], "No such command 'demoo'. Did you mean 'demo'? (see canary --help)"),
        (["demo", "--rate"], "Option '--rate' requires an argument."),
        (["report"], "Missing argument 'record'. (see canary report --help)"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(arguments: list[str], line: str) -> None:
    run = _canary(*arguments)
    assert (run.returncode, run.stdout, run.stderr) == (2, "", f"canary: {line}\n")


def test_without_a_command_the_commands_are_shown() -> None:
    run = _canary()
    assert run.returncode == 2
    assert "backtest" in run.stdout
    assert run.stderr == ""


def test_the_version_is_told() -> None:
    assert _canary("--version").stdout.startswith("canary ")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plan", "--rps", "100"]])
def test_an_output_that_takes_nothing_is_told_in_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run([CANARY, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = "canary: standard output: cannot be written: No space left on device\n"
    assert (run.returncode, run.stderr) == (1, said)


def test_a_file_that_takes_nothing_is_told_in_one_line() -> None:
    run = _canary("plan", "--rps", "100", "--html", "/dev/full")
    assert (run.returncode, run.stderr) == (2, "canary: /dev/full: cannot be written: No space left on device\n")
