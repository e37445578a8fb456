"""Ctrl-C at any moment of a command, while it is loaded too: one line, exit code 130, no traceback."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows import interrupted

MOMENTS = 6


def run(moment: int, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, interrupted.__file__, str(moment), *words]
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.parametrize(
    "words", [["--help"], ["abrot"], ["status"], ["abort"], ["preflight"], ["plan", "--rps", "100"], ["run"]]
)
def test_ctrl_c_at_any_moment_is_one_line_and_no_traceback(tmp_path: Path, words: list[str]) -> None:
    calls = int(run(0, words, tmp_path).stdout.splitlines()[-1])
    moments = random.Random(16).sample(range(1, calls), MOMENTS)

    for moment in moments:
        done = run(moment, words, tmp_path)

        assert done.returncode == 130, (moment, done.stderr)
        assert done.stderr.splitlines()[-1:] == ["canary: interrupted"], (moment, done.stderr)
        assert done.stderr.count("interrupted") == 1, (moment, done.stderr)
        assert "Traceback" not in done.stderr, (moment, done.stderr)
