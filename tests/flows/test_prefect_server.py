"""What Prefect's server, as it is started here, says to other sites' pages and to people without credentials."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.server.prefect_server import PrefectServer
from rollout.errors import UnavailableError
from tests.folders import enterable
from wiring.prefect_runs import PrefectRuns

EVIL = "http://evil.example"
CREDENTIALS = "canary:let me in"
FLOWS = "/api/flows/filter"


def serving(folder: Path, **settings: str) -> PrefectServer:
    enterable(folder)
    with patch.dict(os.environ, settings):
        server = PrefectServer(folder / "prefect")
        server.__enter__()
    server.wait_ready()
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = serving(tmp_path_factory.mktemp("open"), CANARY_PREFECT_DATABASE="sqlite")
    yield server
    server.__exit__()


@pytest.fixture
def client(server: PrefectServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        yield client


def names(client: httpx.Client) -> set[str]:
    return {flow["name"] for flow in client.post(FLOWS, json={}).raise_for_status().json()}


def test_another_sites_page_is_given_no_permission(client: httpx.Client) -> None:
    asks = {"Origin": EVIL, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = client.options(FLOWS, headers=asks)

    assert answer.is_client_error
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL, "Content-Type": "text/plain"},  # needs no permission of the browser
        {"Origin": EVIL},  # a body without a type, which Prefect takes for JSON
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"},
        {"Host": "evil.example", "Origin": EVIL},  # a name that was bound to our address
        {"Host": "evil.example"},
    ],
)
def test_another_sites_page_does_nothing_here(client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.post("/api/flows/", content=b'{"name": "foreign"}', headers=headers)

    assert answer.status_code in (400, 403)
    assert "foreign" not in names(client)


@pytest.mark.parametrize("path", ["/api/events/out", "/api/logs/out"])
def test_another_sites_page_hears_nothing_here(server: PrefectServer, path: str) -> None:
    address = server.url.replace("http", "ws") + path
    with connect(address, proxy=None, origin=server.url):  # type: ignore[arg-type] - its own page may
        pass

    with pytest.raises(InvalidStatus), connect(address, proxy=None, origin=EVIL):  # type: ignore[arg-type]
        pass


def test_its_own_pages_and_clients_are_answered_by_each_name_of_the_loopback(client: httpx.Client) -> None:
    port = client.base_url.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert client.post(FLOWS, json={}, headers=headers).status_code == 200
    assert client.get("/ui-settings").json()["api_url"] == "/api"  # of the same origin, whatever that is


def test_a_link_leads_to_its_pages_and_a_frame_does_not(client: httpx.Client) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}

    link = client.get("/runs", headers=elsewhere | {"Sec-Fetch-Dest": "document"}, follow_redirects=True)
    frame = client.get("/runs", headers=elsewhere | {"Sec-Fetch-Dest": "iframe"})

    assert link.status_code == 200
    assert link.headers["X-Frame-Options"] == "DENY"
    assert frame.status_code == 403


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    folder = tmp_path_factory.mktemp("guarded")
    server = serving(folder, CANARY_PREFECT_DATABASE="sqlite", PREFECT_SERVER_API_AUTH_STRING=CREDENTIALS)
    yield server
    server.__exit__()


@pytest.mark.parametrize("given", [None, httpx.BasicAuth("canary", "let me"), httpx.BasicAuth("", "")])
def test_with_credentials_set_nobody_gets_in_without(guarded: PrefectServer, given: Any) -> None:
    with httpx.Client(base_url=guarded.url, trust_env=False, timeout=30) as stranger:
        assert stranger.post(FLOWS, json={}, auth=given).status_code == 401
        assert stranger.get("/api/health").status_code == 200  # a probe knows none


def test_the_guard_gets_in_with_the_credentials(guarded: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{guarded.url}/api")
    run = "00000000-0000-0000-0000-000000000000"
    without = PrefectRuns.from_environment()
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", CREDENTIALS)
    within = PrefectRuns.from_environment()

    assert without is not None
    with pytest.raises(UnavailableError):
        without.is_cancelled(run)
    assert within is not None
    assert not within.is_cancelled(run)
    assert "let me in" not in repr(within)


def test_beyond_loopback_it_is_not_started_without_credentials(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "flows.server.start", "--host", "0.0.0.0", "--port", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    assert done.returncode == 1
    allowed = "127.0.0.1, or another one with PREFECT_SERVER_API_AUTH_STRING=user:password set"
    assert done.stderr.endswith(f": --host: got '0.0.0.0', allowed: {allowed}\n")
