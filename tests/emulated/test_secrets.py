"""No word that lets us in to Prometheus is in anything that a command writes, whatever the server answers."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from backends.cluster.environment import World
from cli.command_line import run as main
from flows.canary import canary_rollout
from tests.emulated.mesh import Mesh
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import ROOT
from wiring.target import Target

CANARY = Path(sys.executable).parent / "canary"
SECRETS = {
    "address": "Adr-pw-5a1f",
    "query": "Qry-key-77b0",
    "token": "Tok-en-c0ffee",
    "header": "Hdr-val-19ac",
    "password": "Bas-pw-e44d",
    "proxy": "Prx-pw-0d0a",
}
"""Seeded words: none is part of another text."""
Seen = Callable[[str], None]


class _Server(BaseHTTPRequestHandler):
    """A server that says back all that it is sent, in one way of several."""

    way: ClassVar[str] = "denied"
    forward: ClassVar[str] = ""
    """Where requests are answered while the way is `forward`."""
    requests: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        echo = f"{self.path} {dict(self.headers.items())}"
        error = json.dumps({"status": "error", "errorType": "denied", "error": echo}).encode()
        empty = {"status": "success", "data": {"resultType": "matrix", "result": []}, "warnings": [echo]}
        match self.way:
            case "forward" if not 10 <= self.requests < 13:
                with urllib.request.urlopen(self.forward + self.path) as answer:
                    self._say(200, answer.read())
            case "error":
                self._say(200, error)
            case "server error":
                self._say(503, error)
            case "page":
                self._say(200, f"<html>{echo}</html>".encode())
            case "warning":
                self._say(200, json.dumps(empty).encode())
            case "redirect":
                self._say(302, b"", f"http://login.test/?{self.path} {self.headers['Authorization']}")
            case "kind":
                self._say(200, json.dumps({"data": {"resultType": echo}}).encode())
            case "no http":
                self.wfile.write(f"{echo}\r\n\r\n".encode())
            case _:
                self._say(401, error)

    def _say(self, status: int, body: bytes, location: str = "") -> None:
        self.send_response(status, f"{status} {self.headers['Authorization']}")
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def prometheus() -> Iterator[str]:
    """Serve what says all back, and yield its place."""
    _Server.way, _Server.requests = "denied", 0
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def environment(folder: Path, prometheus: str, kubeconfig: Path) -> dict[str, str]:
    """Return variables that hold every kind of secret, and write the files that they name."""
    (folder / "token").write_text(SECRETS["token"])
    return {
        "KUBECONFIG": str(kubeconfig),
        "CANARY_PROMETHEUS": f"http://ada:{SECRETS['address']}@{prometheus}/?key={SECRETS['query']}",
        "CANARY_PROMETHEUS_TOKEN_FILE": str(folder / "token"),
        "CANARY_PROMETHEUS_HEADERS": f"X-Scope-OrgID={SECRETS['header']}",
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PREFECT_HOME": str(folder / "prefect"),
    }


def no_secret_in(text: str, where: str) -> None:
    for kind, secret in SECRETS.items():
        assert secret not in text, f"the {kind} is in {where}: {text[max(text.index(secret) - 200, 0) :][:400]}"


@pytest.fixture
def canary(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[..., str]:
    """Return what types a command in this process, and returns all that it wrote."""

    def run(*words: str) -> str:
        caplog.clear()
        monkeypatch.setattr("sys.argv", ["canary", *words])
        with pytest.raises(SystemExit), caplog.at_level(logging.INFO):
            main()
        written = capfd.readouterr()
        return written.out + written.err + caplog.text

    return run


@pytest.mark.parametrize(
    "way", ["denied", "error", "server error", "page", "warning", "redirect", "kind", "no http", "nobody"]
)
def test_no_command_tells_a_secret_whatever_prometheus_answers(
    way: str, canary: Any, prometheus: str, cluster: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Server.way = way
    assert cluster.settings.kubeconfig is not None
    place = prometheus if way != "nobody" else "127.0.0.1:1"
    for name, value in environment(tmp_path, place, cluster.settings.kubeconfig).items():
        monkeypatch.setenv(name, value)
    address = os.environ["CANARY_PROMETHEUS"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rollout.yaml").write_text((ROOT / "rollout.yaml").read_text())
    (tmp_path / "basic.yaml").write_text(f"basic_auth: {{username: ada, password: {SECRETS['password']}}}")
    here = ["--kubeconfig", str(cluster.settings.kubeconfig)]
    asking = [
        ["preflight", *here],
        ["preflight", *here, "--json", "--prometheus", address, "--prometheus-config", "basic.yaml"],
        ["run", *here],
        ["run", *here, "--dry-run"],
        ["plan", "--prometheus", address, "--prometheus-config", "basic.yaml"],
        ["backtest", "--prometheus", address, "--start", "1700000000", "--end", "1700000060"],
    ]
    others = [["preflight", "--state", "here", "--prometheus", address], ["status", *here]]

    for words in asking + others:
        before = _Server.requests
        text = canary(*words)
        no_secret_in(text, f"{' '.join(words)}, {way}")
        assert f"http://{place}" in text or words in others, text
        assert _Server.requests > before or way == "nobody" or words in others, text


@pytest.mark.parametrize(
    "content",
    [
        "bearer_token: {token}\nbasic_auth: {{username: ada, password: {password}}}",
        "bearer_token: [{token}]",
        'bearer_token: "{token}\\r\\n"',
        "{token}",
        "basic_auth: {{password: {password}, unknown: {token}",
        "proxy_url: ada:{proxy}@proxy",
        "proxy_url: http://ada:{proxy}@127.0.0.1:1",
        "http_headers: {{X-A: {{secrets: ['{header}\n\nX']}}}}",
        "authorization: {{type: Basic {token}, credentials: {password}}}",
    ],
)
def test_a_wrong_file_is_told_without_what_is_in_it(
    content: str, canary: Any, prometheus: str, cluster: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.settings.kubeconfig is not None
    monkeypatch.chdir(ROOT)
    (tmp_path / "access.yaml").write_text(content.format(**SECRETS))
    access = ("--prometheus", f"http://{prometheus}", "--prometheus-config", str(tmp_path / "access.yaml"))

    here = ("--kubeconfig", str(cluster.settings.kubeconfig))

    for words in (("preflight", *here, *access), ("plan", *access), ("run", *here, *access)):
        text = canary(*words)
        assert "Traceback" not in text
        assert "access.yaml" in text or "the proxy" in text
        no_secret_in(text, words[0])


def test_a_rollout_writes_no_secret_into_record_report_log_or_cluster(
    server: EmulatedCluster, prometheus: str, cluster: World, tmp_path: Path
) -> None:
    assert cluster.settings.kubeconfig is not None
    plan = yaml.safe_load((ROOT / "demo.yaml").read_text()) | {"baseline": {"observe": "3s"}}
    plan["steps"] = [step | {"bake": "2s", "deadline": "60s"} for step in plan["steps"]]
    (tmp_path / "rollout.yaml").write_text(yaml.safe_dump(plan))
    variables = os.environ | environment(tmp_path, prometheus, cluster.settings.kubeconfig)

    with Mesh(server, cluster.settings.destinations, scrape=timedelta(seconds=1)) as mesh:
        mesh.metrics.rps = 5000.0
        _Server.way, _Server.forward = "forward", mesh.url
        words = ("run", "--record", "record.json", "--report", "report.html")
        done = subprocess.run(
            [CANARY, *words], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )

    assert done.returncode == 0, done.stdout + done.stderr
    record = (tmp_path / "record.json").read_text()
    assert "HTTP 401" in record + done.stdout + done.stderr  # it met the server that says all back
    for name, text in {
        "output": done.stdout + done.stderr,
        "record": record,
        "report": (tmp_path / "report.html").read_text(),
        "cluster": json.dumps([*server.store.objects.values()], default=str),
        "files": "".join(
            file.read_text(errors="replace") for file in (tmp_path / "prefect").rglob("*.*") if file.is_file()
        ),
    }.items():
        no_secret_in(text, name)


def test_prefect_gets_a_target_without_its_secrets() -> None:
    target = Target(backend="cluster", prometheus=f"http://ada:{SECRETS['address']}@prometheus/?key={SECRETS['query']}")

    shown = json.dumps(canary_rollout.serialize_parameters({"target": target}))

    assert '"prometheus": "http://prometheus"' in shown
    no_secret_in(shown + repr(target) + str(target) + target.model_dump_json(), "the target")
