"""What no backend can carry out yet is refused before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.command_line import run as main


@pytest.mark.parametrize("command", ["run", "demo", "preflight"])
def test_a_rollout_against_a_baseline_track_is_refused_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"{Path('rollout.yaml').read_text(encoding='utf-8')}\ncompare_with: baseline\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["canary", command, "--plan", str(plan)])

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "compare_with: got 'baseline', allowed in a rollout: stable" in said
    assert len(said.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]
