"""What comes from outside reaches a terminal as text: no cursor moves, no title changes, nothing is hidden."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import backends.local.environment as local
from cli.command_table import COMMANDS
from cli.live_page import Log
from rollout.events import Alarm, Started
from rollout.formatting import printable
from rollout.plan import parse_plan
from rollout.record import RolloutRecord, dump_record
from rollout.signals import Signal, SignalKind
from tests.fakes import START, FakeWorld
from tests.unit.conductor.processes import PLAN, Process
from wiring.terminal import Terminal, complain, print_line

ROOT = Path(__file__).parents[2]
CANARY = Path(sys.executable).parent / "canary"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202elive\x08\r[link=http://evil.example]x[/link][/]:x:"
"""Sets a title, clears the screen, turns what follows around; and what rich would take for its own marks."""
MOVES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What no output may hold where it goes to no terminal, and nothing is coloured."""
STYLES = re.compile(r"\x1b\[[0-9;]*m")


def printed(*parts: Any, **named: Any) -> str:
    file = io.StringIO()
    Terminal(file=file, width=200, **named).print(*parts)
    return file.getvalue()


@pytest.mark.parametrize(
    "part",
    [
        HOSTILE,
        Text(HOSTILE, style="bold"),
        Text.assemble(("x", "red"), HOSTILE),
        Panel(HOSTILE, title=Text(HOSTILE)),
        pytest.param(Table(HOSTILE, title=Text(HOSTILE)), id="table"),
    ],
)
def test_nothing_that_is_printed_moves_the_cursor(part: Any) -> None:
    assert not MOVES.search(printed(part))
    coloured = printed(part, force_terminal=True, color_system="truecolor")
    assert not MOVES.search(STYLES.sub("", coloured))


def test_what_looks_like_marks_is_text() -> None:
    assert printed("[bold]x[/] :smile: [/]") == "[bold]x[/] :smile: [/]\n"


@pytest.mark.parametrize("write", [print_line, complain])
def test_a_line_is_written_without_what_would_steer_the_terminal(
    write: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write(f"r1: rolled back: {HOSTILE}")

    written = "".join(capsys.readouterr())
    assert not MOVES.search(written)
    assert written == printable(written)
    assert r"\x1b[2J" in written


def test_a_record_is_shown_without_what_would_steer_the_terminal() -> None:
    world, output = FakeWorld(), io.StringIO()
    started = Started(at=START, rollout="r1", plan=PLAN, who=HOSTILE, backend="fake", note=HOSTILE)
    ledger = world.ledger("r1")
    for event in (started, Alarm(at=START + timedelta(seconds=1), what=HOSTILE)):
        ledger.append(event)

    Log(Terminal(file=output)).show(ledger.read(), Process(world, "ada").plan, note=HOSTILE)

    assert not MOVES.search(output.getvalue())
    assert output.getvalue() == printable(output.getvalue())
    assert output.getvalue().count(r"\x1b[2J") >= 3


@settings(max_examples=300, derandomize=True)
@given(st.text(st.characters(codec=None)))
def test_printable_text_can_always_be_written_and_changes_nothing_that_is_seen(text: str) -> None:
    shown = printable(text)

    assert not MOVES.search(shown)
    assert shown.encode().decode() == shown
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_only_the_terminal_prints() -> None:
    """Whoever prints another way escapes the cleaning; the exceptions print nothing from outside."""
    printing = set[str]()
    for file in sorted(file for folder in ("cli", "flows", "wiring") for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("print", "Console", "rich.print", "sys.stdout.write", "sys.stderr.write", "typer.echo"):
                printing.add(f"{file.relative_to(ROOT)}: {called}")

    assert printing == {
        "wiring/terminal.py: print",
        "cli/command_line.py: print",
        "flows/server/serve_rollout.py: print",
    }


DEMO = yaml.safe_load((ROOT / "demo.yaml").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.World]:
    """A service at rest whose rollout lost its owner, with hostile texts all over its record."""
    plan = parse_plan(yaml.safe_dump(DEMO))
    world = local.start(tmp_path_factory.mktemp("state"), plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
    orphaned(world)
    yield world
    world.stop()


def orphaned(world: local.World, name: str = "r1") -> None:
    plan = parse_plan(yaml.safe_dump(DEMO))
    now, ledger = datetime.now(UTC), world.ledger(name)
    ledger.append(Started(at=now, rollout=name, plan=plan, who=HOSTILE, backend="local", note=HOSTILE))
    ledger.append(Alarm(at=now, what=HOSTILE))
    world.signals(name).send(Signal(SignalKind.PAUSE, HOSTILE, HOSTILE, now))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files with hostile texts that the commands read."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps(DEMO | {"service": HOSTILE, HOSTILE: HOSTILE}))
    profile = tmp_path / "loadtest.yaml"
    profile.write_text(json.dumps({"url": HOSTILE, HOSTILE: HOSTILE}))
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"events": [{"kind": HOSTILE}]}))
    good = tmp_path / f"{HOSTILE.replace('/', '')}.json"
    started = Started(
        at=datetime.now(UTC),
        rollout="r1",
        plan=parse_plan(yaml.safe_dump(DEMO)),
        who=HOSTILE,
        backend="local",
        note=HOSTILE,
    )
    good.write_text(dump_record(RolloutRecord(events=(started, Alarm(at=datetime.now(UTC), what=HOSTILE)))))
    trace = tmp_path / f"{HOSTILE.replace('/', '')}.csv"
    trace.write_text(f"timestamp,metric,{HOSTILE}\n1,{HOSTILE},2\n")
    return {name: str(path) for name, path in locals().items() if isinstance(path, Path)}


CASES: dict[str, list[list[str]]] = {
    "backtest": [["{trace}"], [HOSTILE]],
    "plan": [["{plan}"], ["--plan", "{plan}"], ["--rps", HOSTILE]],
    "run": [
        ["--plan", "{plan}"],
        ["--plan", HOSTILE],
        ["--state", "{state}", "--name", HOSTILE, "--plan", "demo.yaml"],
    ],
    "preflight": [["--plan", "{plan}"], ["--state", HOSTILE, "--plan", "demo.yaml"]],
    "promote": [["--plan", "{plan}"], ["--plan", HOSTILE]],
    "loadtest": [["{profile}"], ["--url", HOSTILE]],
    "status": [["--state", "{state}"], ["--state", "{state}", "--json"], ["--state", HOSTILE]],
    "watch": [["--state", "{state}", HOSTILE]],
    "pause": [["--state", "{state}", "--reason", HOSTILE], ["--state", "{state}", HOSTILE]],
    "skip": [["--state", "{state}", "--reason", HOSTILE]],
    "promote-now": [["--state", "{state}", HOSTILE]],
    "approve": [["--state", "{state}", "--reason", HOSTILE]],
    "refuse": [["--state", "{state}", HOSTILE]],
    "complain": [["--state", "{state}", HOSTILE]],
    "resume": [["--state", "{state}", HOSTILE]],
    "webhook": [["--host", HOSTILE], ["--port", HOSTILE]],
    "metrics": [["--host", HOSTILE], ["--state", HOSTILE, "--port", HOSTILE]],
    "notify": [["--plan", "{plan}"], [HOSTILE]],
    "drill": [["--plan", "{plan}"], ["--state", "{state}", "--plan", "demo.yaml", "--within", HOSTILE]],
    "up": [["--plan", "{plan}"], ["--plan", HOSTILE]],
    "demo": [["--plan", "{plan}"], ["--fault", HOSTILE]],
    "report": [["{record}"], ["{good}"], [HOSTILE]],
    "guard": [["--every", HOSTILE], ["--once", "--state", "{state}"]],
    "abort": [["--state", "{state}", HOSTILE], ["--state", "{state}", "--reason", HOSTILE]],
    "restore": [["--state", "{state}", "--reason", HOSTILE]],
}


def test_every_command_has_a_case() -> None:
    assert set(CASES) == set(COMMANDS)


@pytest.mark.parametrize("command", CASES)
def test_no_command_lets_control_characters_through(world: local.World, files: dict[str, str], command: str) -> None:
    if command in ("guard", "abort", "restore"):
        orphaned(world, f"r-{command}")
    named = {"{state}": str(world.folder.path)} | {f"{{{name}}}": path for name, path in files.items()}
    environment = os.environ | {"CANARY_NOTIFY": f"nosuch://{HOSTILE.replace(' ', '')}", "COLUMNS": "300"}
    for words in CASES[command]:
        line = [CANARY, command, *(named.get(word, word) for word in words)]
        done = subprocess.run(line, capture_output=True, cwd=ROOT, env=environment, timeout=120, check=False)
        output = (done.stdout + done.stderr).decode("utf-8", errors="surrogateescape")

        assert output, words
        assert "Traceback" not in output, output
        assert not MOVES.search(output), (words, output)


def test_warnings_of_all_loggers_are_cleaned() -> None:
    script = (
        "import logging; from wiring.terminal import log_to_terminal; log_to_terminal()\n"
        f"text = {HOSTILE!r}\n"
        "logging.getLogger('x').warning('%s', text)\n"
        "try:\n    raise ValueError(text)\nexcept ValueError:\n    logging.getLogger('x').exception(text)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, check=True)

    assert b"ValueError" in done.stderr
    assert not MOVES.search(done.stderr.decode())
