"""`canary notify`, and what a wrong address does to a release and to an order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.model import Occasion
from rollout.notices import Notice
from tests.fakes import START, FakeNotices
from tests.receiving import WebServer, serving
from wiring.notifications import ToPeople

CANARY = Path(sys.executable).parent / "canary"
DEMO = Path("demo.yaml").absolute()


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving(WebServer()) as server:
        yield server


def test_people_get_what_is_wanted_with_the_pages_that_are_named() -> None:
    notices = FakeNotices()
    way = ToPeople(notices, report="http://reports/{service}/{rollout}.html")
    notice = Notice(Occasion.HELD, START, "shop", "v2", "r1", "why", figures={})

    way.send(notice)
    way.send(replace(notice, is_wanted=False))

    assert [dict(sent.links) for sent in notices.sent] == [{"report": "http://reports/shop/r1.html"}]


def canary(*words: str, folder: Path, notify: str) -> subprocess.CompletedProcess[str]:
    where = {**os.environ, "CANARY_NOTIFY": notify, "CANARY_BACKEND": "local", "CANARY_STATE": str(folder)}
    return subprocess.run([CANARY, *words], capture_output=True, text=True, cwd=folder, env=where, check=False)


def test_a_test_notice_says_who_took_it(tmp_path: Path, web: WebServer) -> None:
    done = canary("notify", "--service", "shop", folder=tmp_path, notify=f"json://{web.where}/ json://127.0.0.1:9/")

    assert done.returncode == 1
    assert f"receiver 1 (JSON at {web.where}): took the test notice" in done.stdout
    assert "receiver 2 (JSON at 127.0.0.1:9): did not take it" in done.stdout
    ((_, got),) = web.got
    assert (got["service"], got["reason"]) == ("shop", "a test: nothing has happened")


def test_where_all_took_it_all_is_well(tmp_path: Path, web: WebServer) -> None:
    assert canary("notify", folder=tmp_path, notify=f"json://{web.where}/").returncode == 0


@pytest.mark.parametrize(
    ("notify", "said"),
    [("", "canary: CANARY_NOTIFY: is empty, allowed: "), ("json://a hunter2", "got no scheme as address 2, allowed: ")],
)
def test_a_mistake_is_one_line_without_a_secret(tmp_path: Path, notify: str, said: str) -> None:
    done = canary("notify", folder=tmp_path, notify=notify)

    assert done.returncode == 2
    assert said in done.stderr
    assert "hunter2" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("notify", "said"),
    [
        ("", "notices: nobody: CANARY_NOTIFY names no receiver"),
        ("jsons://ada:hunter2@here/x", "notices: 1 (JSON at here)"),
        ("foo://hunter2", "notices: CANARY_NOTIFY: got foo://... as address 1, allowed: "),
    ],
)
def test_preflight_says_who_is_told(tmp_path: Path, notify: str, said: str) -> None:
    done = canary("preflight", "--plan", str(DEMO), folder=tmp_path, notify=notify)

    assert said in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_a_release_is_refused_where_a_receivers_address_is_wrong(tmp_path: Path) -> None:
    done = canary("run", "--plan", str(DEMO), folder=tmp_path, notify="foo://hunter2")

    assert done.returncode == 2
    assert "got foo://... as address 1" in done.stderr


def test_an_order_is_given_all_the_same(tmp_path: Path) -> None:
    wrong = canary("abort", folder=tmp_path, notify="foo://hunter2")
    right = canary("abort", folder=tmp_path, notify="")

    assert wrong.returncode == right.returncode
    assert right.stderr.strip() in wrong.stderr
    assert "hunter2" not in wrong.stderr
