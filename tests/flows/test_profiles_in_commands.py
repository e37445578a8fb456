"""Who counts the requests, as a plan or an option names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.command_line import run as main
from rollout.errors import PlanError
from wiring.composition import open_run
from wiring.files import read_plan
from wiring.target import Target


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    monkeypatch.setattr("sys.argv", ["canary", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("profile", "complaint"),
    [
        ("isto", "metrics.profile: got 'isto', allowed: envoy, envoy-classes, envoy-gateway, "),
        ("nowhere.yaml", "nowhere.yaml', allowed: a file that can be read"),
        ("traefik", "metrics.namespace: missing, it has to be given"),
    ],
)
@pytest.mark.parametrize("command", ["backtest", "plan"])
def test_a_wrong_profile_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, profile: str, complaint: str
) -> None:
    server = ["--prometheus", "http://127.0.0.1:9", "--profile", profile]
    span = ["--start", "2026-11-23T09:00Z", "--end", "2026-11-23T10:00Z"] if command == "backtest" else []

    code, complaints = told(monkeypatch, capsys, command, *server, *span)

    assert code == 2
    assert complaint in complaints
    assert complaints.count("\n") == 1


def test_the_embedded_backend_counts_as_istio_does_and_refuses_another_profile(tmp_path: Path) -> None:
    text = Path("rollout.yaml").read_text() + "\nmetrics: {profile: linkerd}\n"
    (tmp_path / "plan.yaml").write_text(text)

    with pytest.raises(PlanError, match=r"metrics\.profile: got 'linkerd', allowed with the embedded backend: istio"):
        open_run(read_plan(tmp_path / "plan.yaml"), Target(state=tmp_path), "one")
