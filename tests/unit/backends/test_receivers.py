"""Notices over real connections: every kind, to a web hook and by mail; receivers that are dead or slow."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backends.notifiers import MOST_WAITING, Notifier, receivers
from rollout.errors import PlanError
from rollout.model import Occasion
from rollout.notices import Notice
from tests.fakes import START
from tests.receiving import MailServer, WebServer, serving

AT_ONCE = timedelta(0)
LINKS = {"report": "http://reports/r1"}


def notice(occasion: Occasion = Occasion.ROLLED_BACK, reason: str = "errors 5.1 %, allowed 1 %") -> Notice:
    return Notice(occasion, START, "shop", "v2", "r1", reason, {"canary's share": "20 %"}, LINKS)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving(WebServer()) as server:
        yield server
        server.lets_go.set()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with serving(MailServer()) as server:
        yield server


def dead() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("occasion", list(Occasion))
def test_each_kind_arrives_at_a_web_hook_with_reason_figures_and_link(web: WebServer, occasion: Occasion) -> None:
    notifier = Notifier(receivers(f"json://{web.where}/hook"))

    notifier.send(notice(occasion))

    (got,) = web.wait_for(1)
    assert got["title"] == f"shop v2: {occasion.replace('-', ' ')}"
    assert got["occasion"] == occasion
    assert (got["reason"], got["figures"]) == ("errors 5.1 %, allowed 1 %", {"canary's share": "20 %"})
    assert got["links"] == LINKS
    assert got["message"] == notice(occasion).body
    assert notifier.wait()
    assert notifier.undelivered() == ()


@pytest.mark.parametrize("occasion", list(Occasion))
def test_each_kind_arrives_by_mail_with_reason_figures_and_link(mail: MailServer, occasion: Occasion) -> None:
    notifier = Notifier(receivers(f"mailto://{mail.where}?from=canary@test.example&to=team@test.example"))

    notifier.send(notice(occasion))

    (got,) = mail.wait_for(1)
    body = got.get_body(("plain", "html"))
    assert body is not None
    text = body.get_content()
    assert got["subject"] == f"shop v2: {occasion.replace('-', ' ')}"
    assert "team@test.example" in got["to"]
    for line in ("errors 5.1 %, allowed 1 %", "20 %", "http://reports/r1"):
        assert line in text


def test_a_slack_and_a_teams_message_hold_the_same(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    teams = WebServer()
    teams.encrypt(tmp_path / "certificate.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    slack_url = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#releases"
    slack, other = receivers(f"{slack_url} workflows://{teams.where}/workflow/signature")
    monkeypatch.setattr(slack.plugin, "webhook_url", f"http://{web.where}/slack")

    with serving(teams):
        Notifier((slack, other)).send(notice())
        found = [*web.wait_for(1), *teams.wait_for(1)]

    for got in found:
        for line in ("shop v2: rolled back", "errors 5.1 %, allowed 1 %", "20 %", "http://reports/r1"):
            assert line in str(got)


def test_a_dead_receiver_is_told_of_once_and_the_living_one_beside_it_gets_everything(web: WebServer) -> None:
    gone = dead()
    notifier = Notifier(receivers(f"json://{gone}/ json://{web.where}/"))

    for number in range(3):
        notifier.send(notice(reason=str(number)))

    assert [got["reason"] for got in web.wait_for(3)] == ["0", "1", "2"]
    assert notifier.wait()
    assert [lost.text for lost in notifier.undelivered()] == [f"notices do not reach receiver 1 (JSON at {gone})"]


def test_a_receiver_that_refuses_has_not_been_reached(web: WebServer) -> None:
    web.statuses = [403]
    notifier = Notifier(receivers(f"json://{web.where}/"))

    notifier.send(notice())

    assert notifier.wait()
    assert [lost.text for lost in notifier.undelivered()] == [f"notices do not reach receiver 1 (JSON at {web.where})"]


def test_a_receiver_that_fails_for_a_moment_gets_the_notice_all_the_same(web: WebServer) -> None:
    web.statuses = [500, 200]
    notifier = Notifier(receivers(f"json://{web.where}/"))

    notifier.send(notice())

    assert len(web.wait_for(2)) == 2
    assert notifier.wait()
    assert notifier.undelivered() == ()


def test_what_did_not_arrive_is_logged_with_its_title(web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    web.statuses = [403]
    notifier = Notifier(receivers(f"json://{web.where}/"))

    notifier.send(notice())

    assert notifier.wait()
    assert "shop v2: rolled back" in caplog.text
    assert "do not reach receiver 1" in caplog.text


def test_nobody_waits_for_a_receiver_that_never_answers(web: WebServer) -> None:
    web.lets_go.clear()
    notifier = Notifier(receivers(f"json://{web.where}/"))

    for _ in range(MOST_WAITING + 2):  # one is on its way, and one too many
        notifier.send(notice())

    assert not notifier.wait(AT_ONCE)
    assert [lost.text for lost in notifier.undelivered()] == [
        f"notices are left out: receiver 1 (JSON at {web.where}) does not keep up"
    ]


def test_a_process_that_ends_hands_over_what_it_has_just_said_and_waits_for_no_dead_one(web: WebServer) -> None:
    lines = f"""
from backends.notifiers import notifier
from tests.unit.backends.test_receivers import notice
notifier("json://{web.where}/ json://{dead()}/").send(notice())
"""

    subprocess.run([sys.executable, "-c", lines], check=True, cwd=Path(__file__).parents[3])

    assert len(web.got) == 1


def test_a_process_ends_though_a_receiver_never_answers(web: WebServer) -> None:
    web.lets_go.clear()
    lines = f"""
from backends.notifiers import notifier
from tests.unit.backends.test_receivers import notice
notifier("json://{web.where}/?rto=300").send(notice())
"""

    subprocess.run([sys.executable, "-c", lines], check=True, cwd=Path(__file__).parents[3], timeout=60)

    assert len(web.got) == 1


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ("json://here foo://hunter2@there", "CANARY_NOTIFY: got foo://... as address 2, allowed: "),
        ("hunter2", "CANARY_NOTIFY: got no scheme as address 1, allowed: "),
        ("slack://hunter2", "CANARY_NOTIFY: got slack://... as address 1, allowed: "),
    ],
)
def test_a_wrong_address_is_named_in_one_line_without_its_secret(urls: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        receivers(urls)

    assert str(refused.value).startswith(said)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_receivers_name_gives_no_secret_away() -> None:
    urls = (
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/ jsons://ada:hunter2@hooks.example/TIiajkd "
        "mailtos://ada:hunter2@mail.example"
    )

    names = [receiver.name for receiver in receivers(urls)]

    assert names == ["1 (Slack)", "2 (JSON at hooks.example)", "3 (E-Mail at mail.example:587)"]
