"""Whether a guard looks: by what it leaves in the state folder, and by its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backends.local.guard_heartbeat import read_guard_status, record_heartbeat

LOOK = """
import sys
from pathlib import Path
from backends.local.guard_heartbeat import record_heartbeat
record_heartbeat(Path(sys.argv[1]), 1)
"""


def test_a_guard_that_has_just_looked_is_there(tmp_path: Path) -> None:
    record_heartbeat(tmp_path, 10)

    assert read_guard_status(tmp_path).lives
    assert "looks every 10 s" in read_guard_status(tmp_path).description


def test_a_guard_whose_process_is_gone_is_none(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LOOK, str(tmp_path)], check=True)

    assert not read_guard_status(tmp_path).lives
    assert "is gone" in read_guard_status(tmp_path).description


def test_a_guard_that_hangs_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.local.guard_heartbeat.time.time", lambda: 1_000_000.0)
    record_heartbeat(tmp_path, 10)
    monkeypatch.setattr("backends.local.guard_heartbeat.time.time", lambda: 1_000_100.0)

    assert read_guard_status(tmp_path).description.endswith("lives, and has not looked for 100 s")
    assert not read_guard_status(tmp_path).lives


@pytest.mark.parametrize("content", [None, b"\xff", b"{}", b'{"process": 1}'])
def test_a_word_that_cannot_be_read_is_none_and_can_be_left_again(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "guard.json").write_bytes(content)
    assert not read_guard_status(tmp_path).lives

    record_heartbeat(tmp_path, 10)

    assert read_guard_status(tmp_path).lives
