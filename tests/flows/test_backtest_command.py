from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from analysis.judge import Judge
from analysis.offline.traces import COLUMNS, read_trace
from benchmarks.simulated.families import Family, Fault
from benchmarks.simulated.simulator import simulate
from benchmarks.simulated.trace_writer import write_trace
from cli.command_line import app
from cli.command_line import run as main
from cli.judged_plan import load_plan, with_options
from tests.flows.prometheus_server import PrometheusServer, serving

SICK = Family("sick", fault=Fault(error_ratio=0.05), duration=300.0, steps=((0.0, 0.2), (150.0, 0.5)))
WELL = Family("well", rps=1000, error_ratio=0.0001, duration=600.0, steps=((0.0, 0.2),))
HEADER = ",".join(COLUMNS)


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    write_trace(simulate(SICK, runs=1, seed=4, history=600.0), 0, folder / "sick.csv")
    write_trace(simulate(WELL, runs=1, seed=4, history=600.0), 0, folder / "well.parquet")
    return folder


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def run(*arguments: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["canary", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Answer(int(ended.value.code or 0), told.out, told.err)

    return run


def test_a_table_says_what_would_have_happened_and_why(canary: Any, recorded: Path) -> None:
    answer = canary("backtest", recorded / "sick.csv")

    assert answer.code == 0
    assert "sick  rolled back after" in answer.out
    assert "canary requests failed" in answer.out
    assert "canary judge" in answer.out


def test_the_others_stand_beside_the_judge(canary: Any, recorded: Path) -> None:
    answer = canary("backtest", recorded / "sick.csv", "--rules", "flagger,argo,kayenta")

    for name in ("canary judge", "Flagger", "Argo Rollouts", "Kayenta"):
        assert name in answer.out


def test_a_folder_is_summed_up_in_one_line_a_trace(canary: Any, recorded: Path) -> None:
    answer = canary("backtest", recorded, "--summary")

    sick, well = answer.lines
    assert list(sick) == ["trace", "rollback_at", "promote_at", "reason"]
    assert (sick["trace"], well["trace"]) == ("sick", "well")
    assert sick["rollback_at"] is not None
    assert sick["promote_at"] is None
    assert well["rollback_at"] is None
    assert 0 < well["promote_at"] <= 600


def test_decisions_come_a_scrape_a_line_and_agree_with_the_summary(canary: Any, recorded: Path) -> None:
    lines = canary("backtest", recorded / "sick.csv", "--jsonl-decisions").lines
    (told,) = canary("backtest", recorded / "sick.csv", "--summary").lines

    assert [line["t"] for line in lines] == [5.0 * number for number in range(1, 61)]
    assert next(line["t"] for line in lines if line["decision"] == "rollback") == told["rollback_at"]
    assert {line["decision"] for line in lines} == {"hold", "rollback"}
    assert all(isinstance(line["rollback_evidence"], float) for line in lines)


def test_json_holds_all_results_with_their_steps_and_the_others(canary: Any, recorded: Path) -> None:
    answer = canary("backtest", recorded / "sick.csv", recorded / "well.parquet", "--json", "--rules", "argo")

    sick, well = json.loads(answer.out)
    assert sick["steps"] == [{"at": 0.0, "canary_share": 0.2}, {"at": 150.0, "canary_share": 0.5}]
    assert sick["peers"] == {"argo": {"rollback_at": 240.0, "promote_at": None}}
    assert well["scrapes"] == 120


def test_it_works_from_any_folder(canary: Any, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = canary("backtest", recorded / "sick.csv", "--summary")
    monkeypatch.chdir(tmp_path)

    assert canary("backtest", recorded / "sick.csv", "--summary") == here


def test_slowness_is_judged_from_the_first_request_unless_the_plan_or_an_option_says_otherwise(
    canary: Any, tmp_path: Path
) -> None:
    slow = Family("slow", fault=Fault(scale=1.5), duration=150.0, steps=((0.0, 0.2),))
    write_trace(simulate(slow, runs=1, seed=4, history=600.0), 0, tmp_path / "slow.csv")

    def rolled_back_at(*options: object) -> float:
        return float(canary("backtest", tmp_path / "slow.csv", "--summary", *options).lines[0]["rollback_at"])

    assert rolled_back_at() < 60
    assert rolled_back_at("--warmup", "60s") > 60
    assert rolled_back_at("--plan", "rollout.yaml") > 60


def test_a_smaller_alpha_asks_for_more_evidence(canary: Any, recorded: Path) -> None:
    (usual,) = canary("backtest", recorded / "sick.csv", "--summary").lines
    (strict,) = canary("backtest", recorded / "sick.csv", "--summary", "--alpha", "0.0001%").lines

    assert usual["rollback_at"] < strict["rollback_at"]


def test_options_stand_instead_of_the_plans_own() -> None:
    plan = with_options(load_plan(None), alpha="0.02", warm_up="90s")

    assert (plan.alpha, plan.warm_up.total_seconds()) == (0.02, 90)
    assert with_options(plan) is plan
    assert Judge.for_plan(with_options(plan, bake="10m")).plan.steps[0].deadline.total_seconds() == 1200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "got no trace"),
        (["nowhere.csv"], "nowhere.csv: No such file"),
        (["sick.csv", "--rules", "flager"], "--rules: got 'flager', allowed: flagger, argo, kayenta"),
        (["sick.csv", "--alpha", "60%"], "--alpha: got '60%', allowed: above 0% and below 50%"),
        (["sick.csv", "--alpha", "much"], "--alpha: got 'much'"),
        (["sick.csv", "--warmup", "soon"], "--warmup: got 'soon', allowed: a duration"),
        (["sick.csv", "--json", "--summary"], "--summary: got it together with --json"),
        (["sick.csv", "--start", "2026-01-01"], "--start: got '2026-01-01', allowed: with --prometheus only"),
        (["sick.csv", "--prometheus", "http://127.0.0.1:9"], "allowed: traces, folders of them, or --prometheus"),
        (["--prometheus", "http://127.0.0.1:9"], "--start: missing"),
        (["--prometheus", "http://127.0.0.1:9", "--start", "noon"], "--start: got 'noon', allowed: a moment"),
        (["--prometheus", "http://127.0.0.1:9", "--start", "200", "--end", "100"], "allowed: before --end"),
        (["sick.csv", "--plan", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["empty"], "empty: no traces"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_line(
    canary: Any, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    shutil.copy(recorded / "sick.csv", tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)

    answer = canary("backtest", *arguments)

    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""


BROKEN = {
    "missing column": ("timestamp,track,pod,metric,value\n0,stable,,requests_total,1\n", "line 1: column le"),
    "unsorted": (f"{HEADER}\n5,stable,,requests_total,,1\n0,stable,,requests_total,,1\n", "line 3: timestamp 0"),
    "repeated": (f"{HEADER}\n0,stable,,requests_total,,1\n0,stable,,requests_total,,1\n", "line 3:"),
    "nan": (f"{HEADER}\n0,stable,,requests_total,,nan\n", "line 2: value is nan"),
    "negative": (f"{HEADER}\n0,stable,,requests_total,,1\n5,stable,,requests_total,,-2\n", "line 3:"),
    "another kind": ("\x89PNG\r\n\x1a\n\0\0", "line 1: not a trace"),
    "empty": ("", "line 1: not a trace"),
    "too short a row": (f"{HEADER}\n0,stable,,requests_total,,1\n5,stable\n", "line 3"),
    "a word for a number": (f"{HEADER}\n0,stable,,requests_total,,many\n", "line 2"),
    "not Parquet": ("PAR1 indeed", "bad.csv: "),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_bad_trace_is_told_with_its_line_and_the_others_are_judged(
    canary: Any, recorded: Path, tmp_path: Path, text: str, said: str
) -> None:
    shutil.copy(recorded / "sick.csv", tmp_path)
    (tmp_path / "bad.csv").write_text(text, encoding="latin-1")

    answer = canary("backtest", tmp_path, "--summary")

    bad, sick = answer.lines
    assert answer.code == 2
    assert said in answer.err
    assert answer.err == f"canary: {bad['error']}\n"
    assert bad["rollback_at"] is None
    assert sick["rollback_at"] is not None


PIECES = [b"", b"\n", b",", b'"', b"NaN", b"-", b"1e999", b"9" * 30, b"\xff", b"\0", b"canary"]


@st.composite
def edits(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    place = draw(st.floats(0, 1))
    piece = draw(
        st.sampled_from([b"", b"\n", b",", b'"', b"NaN", b"-", b"1e999", b"9" * 30, b"\xff", b"\0", b"canary"])
    )
    length = draw(st.integers(0, 40))

    def edit(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + piece + content[at + length :]

    return edit


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["sick.csv", "well.parquet"]), changes=st.lists(edits(), min_size=1, max_size=4))
def test_no_broken_file_ends_in_a_traceback(
    recorded: Path, tmp_path: Path, name: str, changes: list[Callable[[bytes], bytes]]
) -> None:
    content = (recorded / name).read_bytes()
    content = content[: content.find(b"\n20,")] if name.endswith("csv") else content
    for change in changes:
        content = change(content)
    broken = tmp_path / name
    broken.write_bytes(content)

    answer = CliRunner().invoke(app, ["backtest", str(broken), "--summary"])

    (line,) = answer.stdout.splitlines()
    assert answer.exit_code == (2 if "error" in json.loads(line) else 0)
    assert answer.exception is None or isinstance(answer.exception, SystemExit)


@pytest.fixture
def server(recorded: Path) -> Iterator[PrometheusServer]:
    with serving(read_trace(recorded / "sick.csv"), start=1_700_000_000.0) as server:
        yield server


def test_a_live_servers_past_gives_what_the_file_gives(canary: Any, recorded: Path, server: PrometheusServer) -> None:
    span = ("--start", "1699999400", "--end", "2023-11-14T22:18:20Z")  # 10 min before the canary, and 5 after

    (live,) = canary("backtest", "--prometheus", server.url, *span, "--summary").lines

    (filed,) = canary("backtest", recorded / "sick.csv", "--summary").lines
    assert live["trace"] == "canary-app"
    assert live["rollback_at"] == filed["rollback_at"]
    assert len(server.asked) > 0


@pytest.mark.parametrize("name", ["kept.csv", "kept.parquet"])
def test_a_past_that_is_kept_gives_the_same_without_the_server(
    canary: Any, server: PrometheusServer, tmp_path: Path, name: str
) -> None:
    span = ("--start", "1699999400", "--end", "1700000300")
    (live,) = json.loads(canary("backtest", "--prometheus", server.url, *span, "--save", tmp_path / name, "--json").out)

    (kept,) = json.loads(canary("backtest", tmp_path / name, "--json").out)

    assert kept | {"trace": "", "notes": []} == live | {"trace": "", "notes": []}


def test_only_what_a_server_said_can_be_kept(canary: Any, recorded: Path, tmp_path: Path) -> None:
    answer = canary("backtest", recorded / "sick.csv", "--save", tmp_path / "kept.csv")

    assert (answer.code, "--save" in answer.err) == (2, True)


def test_a_long_past_is_asked_for_in_parts_and_gives_the_same(canary: Any, server: PrometheusServer) -> None:
    span = ("--start", "1699999395", "--end")
    short = canary("backtest", "--prometheus", server.url, *span, "1700000300", "--jsonl-decisions")
    server.asked.clear()

    long = canary("backtest", "--prometheus", server.url, *span, "1700003600", "--jsonl-decisions")

    assert len(server.asked) == 5
    assert long == short


def test_steps_that_were_not_recorded_are_told_from_the_traffic(canary: Any, server: PrometheusServer) -> None:
    span = ("--start", "1699999395", "--end", "1700000300")

    (live,) = json.loads(canary("backtest", "--prometheus", server.url, *span, "--json").out)

    introduce, increase = live["steps"]
    assert (introduce["canary_share"], increase["canary_share"]) == (0.2, 0.5)
    assert introduce["at"] == 0
    assert 150 < increase["at"] <= 210


def test_a_server_that_knows_no_canary_says_so(canary: Any, server: PrometheusServer) -> None:
    answer = canary("backtest", "--prometheus", server.url, "--start", "1699999400", "--end", "1699999900")

    assert answer.code == 1
    assert "no request was answered by v2" in answer.err


def test_a_server_that_is_down_is_one_line(canary: Any) -> None:
    answer = canary("backtest", "--prometheus", "http://127.0.0.1:9", "--start", "100", "--end", "200")

    assert answer.code == 1
    assert answer.err.startswith("canary: query http://127.0.0.1:9")
    assert answer.err.count("\n") == 1


def test_the_command_line_brings_in_none_of_the_slow_parts_until_they_are_needed() -> None:
    import subprocess
    import sys

    code = "import sys, cli.command_line as _; print({'prefect', 'kubernetes', 'locust'} & set(sys.modules) or [])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
