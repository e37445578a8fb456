"""A real rollout that is rolled back: what arrives at a receiver, and the hooks on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rollout.events import HookEnded
from rollout.record import parse_record
from tests.e2e.runs import CANARY, ROOT
from tests.receiving import WebServer, serving

pytestmark = pytest.mark.e2e


def test_people_and_hooks_are_told_of_a_rollback_and_a_dead_receiver_changes_nothing(tmp_path: Path) -> None:
    keep = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    with serving(WebServer()) as chat, serving(WebServer()) as gate:
        hooks = [
            {"name": "gate", "when": "before-step", "url": f"http://{gate.where}/", "on_failure": "hold"},
            {"name": "gone", "when": "before-rollout", "url": "http://127.0.0.1:9/", "on_failure": "ignore"},
            {"name": "tell", "when": "after-rollback", "command": [sys.executable, "-c", keep, str(tmp_path / "told")]},
        ]
        plan = yaml.safe_load((ROOT / "demo.yaml").read_text()) | {"hooks": hooks}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
        command = [CANARY, "demo", "--plan", str(tmp_path / "plan.yaml"), "--fault", "errors=5%", "--rate", "200"]
        command += ["--state", str(tmp_path / "state"), "--record", str(tmp_path / "record.json")]
        command += ["--report", str(tmp_path / "report.html")]
        receivers = f"json://{chat.where}/ json://127.0.0.1:9/"
        where = {**os.environ, "CANARY_NOTIFY": receivers, "CANARY_REPORT_URL": "http://reports/{rollout}.html"}
        done = subprocess.run(command, capture_output=True, text=True, env=where, cwd=ROOT, timeout=500, check=False)

    assert done.returncode == 3, done.stdout + done.stderr
    record = parse_record((tmp_path / "record.json").read_text())
    assert record.started is not None
    assert record.ended is not None
    told = [body for _, body in chat.got]
    assert [got["occasion"] for got in told if got["occasion"] != "alarm"] == ["started", "step", "rolled-back"]
    last = told[-1]
    assert last["reason"] == record.ended.reason
    assert last["figures"]["step"] == "introduce"
    assert last["figures"]["evidence for a rollback"]
    assert last["links"]["report"] == f"http://reports/{record.started.rollout}.html"
    assert "/runs/flow-run/" in last["links"]["Prefect"]
    alarms = [got["reason"] for got in told if got["occasion"] == "alarm"]
    assert alarms.count("notices do not reach receiver 2 (JSON at 127.0.0.1:9)") == 1
    assert "hook gone got no answer: ConnectError" in alarms

    ran = [(event.hook, event.step, event.reason) for event in record.of(HookEnded)]
    assert ran == [
        ("gone", "", "got no answer: ConnectError"),
        ("gate", "introduce", "answered 200"),
        ("tell", "", "ended with exit code 0"),
    ]
    payload = json.loads((tmp_path / "told").read_text())
    assert (payload["state"], payload["reason"]) == ("rolled back", record.ended.reason)
    assert "Hook gate (before-step introduce) answered 200" in (tmp_path / "report.html").read_text()
