"""Access to Prometheus: each way in against a server that demands it, and wrong settings against what they are told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backends.local.loopback import free_port
from backends.local.prometheus_process import find_prometheus
from backends.prometheus.address import Address
from backends.prometheus.api import PrometheusApi
from backends.prometheus.http_config import Access
from backends.prometheus.http_config_settings import AccessSettings
from rollout.errors import AccessDeniedError, PlanError, UnavailableError

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
FOUND = json.dumps({"data": {"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [1, "1"]}]}}).encode()
Demand = Callable[[str, Message], int]
"""What status a request gets, by its path and its headers."""


@contextmanager
def demanding(demand: Demand, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve what lets in only whom a function lets in, and yield the address without its scheme."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = demand(self.path, self.headers)
            self.send_response(status)
            body = FOUND if status == 200 else b"no org id"
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a handshake that failed, as some are to

    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def header(name: str, value: Callable[[], str]) -> Demand:
    return lambda _, headers: 200 if headers[name] == value() else 401


def is_let_in(url: str, access: Access | None = None) -> bool:
    try:
        answer = PrometheusApi(url, access).instant("up", NOW, timeout=timedelta(seconds=5))
    except AccessDeniedError:
        return False
    return len(answer.series) == 1


def loaded(folder: Path, text: str) -> Access:
    file = folder / "access.yaml"
    file.write_text(text)
    return AccessSettings(config=file).load()


def test_a_tokens_file_is_read_anew_after_it_was_rotated(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    access = loaded(tmp_path, "bearer_token_file: token")  # beside the file that names it
    wanted = ["Bearer first"]

    with demanding(header("Authorization", lambda: wanted[0])) as place:
        api = PrometheusApi(f"http://{place}", access)
        assert api.instant("up", NOW, timeout=timedelta(seconds=5)).series

        wanted[0] = "Bearer secnd"
        with pytest.raises(AccessDeniedError):
            api.instant("up", NOW, timeout=timedelta(seconds=5))

        (tmp_path / "token").write_text("secnd\n")
        assert api.instant("up", NOW, timeout=timedelta(seconds=5)).series


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("bearer_token: abc", "Bearer abc"),
        ("authorization: {credentials: abc}", "Bearer abc"),
        ("authorization: {type: GenieKey, credentials_file: secret}", "GenieKey s3cret"),
        ("basic_auth: {username: ada, password: 0123}", f"Basic {base64.b64encode(b'ada:0123').decode()}"),
        ("basic_auth: {username: ada, password_file: secret}", f"Basic {base64.b64encode(b'ada:s3cret').decode()}"),
        ("basic_auth: {username: ada, password: né}", f"Basic {base64.b64encode('ada:né'.encode()).decode()}"),
    ],
)
def test_each_way_to_say_who_we_are_is_sent(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    access = loaded(tmp_path, text)

    with demanding(header("Authorization", lambda: value)) as place:
        assert is_let_in(f"http://{place}", access)
        assert not is_let_in(f"http://{place}")


def test_user_password_and_query_of_the_address_are_sent() -> None:
    def demand(path: str, headers: Message) -> int:
        wanted = f"Basic {base64.b64encode(b'ada:p@ss').decode()}"
        has_query = dict(parse_qsl(urlsplit(path).query)).get("partial_response") == "false"
        return 200 if headers["Authorization"] == wanted and has_query and path.startswith("/prom/api/") else 401

    with demanding(demand) as place:
        assert is_let_in(f"http://ada:p%40ss@{place}/prom/?partial_response=false")


def test_a_tenants_header_comes_from_the_short_setting_or_the_file(tmp_path: Path) -> None:
    (tmp_path / "tenant").write_text("team-a")
    short = AccessSettings(headers="X-Scope-OrgID=team-a, X-Other = b").load()
    file = loaded(tmp_path, "http_headers: {X-Scope-OrgID: {files: [tenant]}, X-Other: {values: [b]}}")

    def demand(_: str, headers: Message) -> int:
        return 200 if (headers["X-Scope-OrgID"], headers["X-Other"]) == ("team-a", "b") else 401

    with demanding(demand) as place:
        assert is_let_in(f"http://{place}", short)
        assert is_let_in(f"http://{place}", file)
        assert not is_let_in(f"http://{place}")


def test_a_short_setting_is_added_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "access.yaml").write_text("http_headers: {X-A: {values: [a]}}\ntimeout: 2s")
    (tmp_path / "token").write_text("abc")

    access = AccessSettings(config=tmp_path / "access.yaml", token_file=tmp_path / "token", headers="X-B=b").load()

    assert set(access.http_headers) == {"X-A", "X-B"}
    assert access.bearer_token_file == tmp_path / "token"
    assert access.timeout == timedelta(seconds=2)


class Authority(NamedTuple):
    """A certificate authority of a test, and where its files lie."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    @classmethod
    def made_in(cls, folder: Path) -> Authority:
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        authority = cls(folder, key, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")]))
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        authority._write("ca", authority._builder(authority.name, key).add_extension(constraint, critical=True), key)
        return authority

    def issue(self, name: str, host: str) -> None:
        """Write `name.pem` and `name.key` for a host's name or number."""
        key = ec.generate_private_key(ec.SECP256R1())
        place = x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key).add_extension(x509.SubjectAlternativeName([place]), critical=False)
        self._write(name, builder, key)

    def context(self, name: str) -> ssl.SSLContext:
        """Return what a server has that asks for a client's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        context.load_verify_locations(self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # with 1.3 a reset may overtake the alert
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    def _write(self, name: str, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> None:
        pem, encoding = serialization.NoEncryption(), serialization.Encoding.PEM
        certificate = builder.sign(self.key, hashes.SHA256())
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(encoding))
        (self.folder / f"{name}.key").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, pem))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority.made_in(tmp_path_factory.mktemp("tls"))
    authority.issue("server", "127.0.0.1")
    authority.issue("named", "prometheus.example")
    authority.issue("client", "client.example")
    return authority


def anybody(path: str, headers: Message) -> int:
    return 200


def test_a_clients_certificate_is_shown_to_a_server_that_asks_for_it(authority: Authority) -> None:
    mine = "tls_config: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}"

    with demanding(anybody, authority.context("server")) as place:
        assert is_let_in(f"https://{place}", loaded(authority.folder, mine))
        with pytest.raises(UnavailableError, match=r"certificate .*see tls_config in CANARY_PROMETHEUS_CONFIG"):
            is_let_in(f"https://{place}", loaded(authority.folder, "tls_config: {ca_file: ca.pem}"))
        with pytest.raises(UnavailableError, match="its certificate is not trusted: self-signed certificate"):
            is_let_in(f"https://{place}")


def test_a_certificate_that_was_renewed_is_taken_up(authority: Authority, tmp_path: Path) -> None:
    old = Authority.made_in(tmp_path)
    old.issue("client", "client.example")
    (tmp_path / "trusted.pem").write_bytes((authority.folder / "ca.pem").read_bytes())
    access = loaded(tmp_path, "tls_config: {ca_file: trusted.pem, cert_file: client.pem, key_file: client.key}")

    with demanding(anybody, authority.context("server")) as place:
        api = PrometheusApi(f"https://{place}", access)
        with pytest.raises(UnavailableError):
            api.instant("up", NOW, timeout=timedelta(seconds=5))

        for file in ("client.pem", "client.key"):
            (tmp_path / file).write_bytes((authority.folder / file).read_bytes())
        assert api.instant("up", NOW, timeout=timedelta(seconds=5)).series


def test_the_servers_name_is_checked_unless_another_one_or_none_is_asked_for(authority: Authority) -> None:
    mine = "ca_file: ca.pem, cert_file: client.pem, key_file: client.key"

    with demanding(anybody, authority.context("named")) as place:
        with pytest.raises(UnavailableError, match="its certificate is not trusted: IP address mismatch"):
            is_let_in(f"https://{place}", loaded(authority.folder, f"tls_config: {{{mine}}}"))
        named = loaded(authority.folder, f"tls_config: {{{mine}, server_name: prometheus.example}}")
        assert is_let_in(f"https://{place}", named)
        unchecked = loaded(authority.folder, f"tls_config: {{{mine}, insecure_skip_verify: true}}")
        assert is_let_in(f"https://{place}", unchecked)


def test_a_key_with_a_passphrase_is_an_error_and_asks_nobody(authority: Authority) -> None:
    key = authority.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    (authority.folder / "locked.key").write_bytes(key)
    access = loaded(authority.folder, "tls_config: {cert_file: ca.pem, key_file: locked.key}")

    with pytest.raises(UnavailableError, match="hold no certificate and its key in PEM"):
        is_let_in("https://127.0.0.1:1", access)


@contextmanager
def proxy(user: str) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy for plain HTTP that demands a user, and yield its place and what it was asked for."""
    seen: list[str] = []

    def demand(path: str, headers: Message) -> int:
        if headers["Proxy-Authorization"] != f"Basic {base64.b64encode(user.encode()).decode()}":
            return 407
        seen.append(path)
        target = urlsplit(path)
        connection = http.client.HTTPConnection(target.netloc)
        connection.request("GET", f"{target.path}?{target.query}", headers={"Authorization": headers["Authorization"]})
        status = connection.getresponse().status
        connection.close()
        return status

    with demanding(demand) as place:
        yield place, seen


def test_a_proxy_is_gone_by_and_its_refusal_names_the_setting(tmp_path: Path) -> None:
    with demanding(header("Authorization", lambda: "Bearer abc")) as place, proxy("ada:pw") as (way, seen):
        good = loaded(tmp_path, f"bearer_token: abc\nproxy_url: http://ada:pw@{way}")
        assert is_let_in(f"http://{place}", good)
        assert [path.split("?")[0] for path in seen] == [f"http://{place}/api/v1/query"]

        bad = loaded(tmp_path, f"bearer_token: abc\nproxy_url: http://ada:wrong@{way}")
        with pytest.raises(AccessDeniedError, match="the proxy refuses us; see proxy_url"):
            PrometheusApi(f"http://{place}", bad).instant("up", NOW, timeout=timedelta(seconds=5))


def signature(path: str, headers: Message, secret: str) -> str:
    """Return AWS' signature of a GET request without a body, by its documentation of Signature Version 4."""
    scope, signed = (part.split("=")[1].rstrip(",") for part in headers["Authorization"].split()[1:3])
    key_date, region, service, terminator = scope.split("/")[1:]
    split = urlsplit(path)
    query = sorted(part.partition("=")[::2] for part in split.query.split("&"))
    canonical = "\n".join(
        [
            "GET",
            split.path,
            "&".join(
                f"{quote(unquote(name), safe='-_.~')}={quote(unquote(value), safe='-_.~')}" for name, value in query
            ),
            *(f"{name}:{headers[name].strip()}" for name in signed.split(";")),
            "",
            signed,
            hashlib.sha256(b"").hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for part in (key_date, region, service, terminator):
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join(
        ["AWS4-HMAC-SHA256", headers["X-Amz-Date"], "/".join((key_date, region, service, terminator)),
         hashlib.sha256(canonical.encode()).hexdigest()]
    )  # fmt: skip
    return hmac.digest(key, text.encode(), "sha256").hex()


@pytest.mark.parametrize("way", ["in the file", "by a profile"])
def test_requests_are_signed_as_aws_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    pytest.importorskip("botocore")
    keys = tmp_path / "credentials"
    keys.write_text("[metrics]\naws_access_key_id = AKID\naws_secret_access_key = s3cret+/key\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    given = "profile: metrics" if way == "by a profile" else "access_key: AKID, secret_key: s3cret+/key"
    access = loaded(tmp_path, f"sigv4: {{region: eu-central-1, {given}}}\nhttp_headers: {{X-A: {{values: [b]}}}}")

    def demand(path: str, headers: Message) -> int:
        assert "/eu-central-1/aps/aws4_request" in headers["Authorization"]
        given = headers["Authorization"].rpartition("Signature=")[2]
        return 200 if given == signature(path, headers, "s3cret+/key") else 403

    with demanding(demand) as place:
        api = PrometheusApi(f"http://{place}/workspaces/ws-1", access)
        assert api.instant('sum by (a) (up{b="c d", e=~"ä|+"})', NOW, timeout=timedelta(seconds=5)).series


def test_without_keys_for_aws_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    for text, message in (("region: eu", "no keys for AWS"), ("region: eu, profile: x", "ProfileNotFound")):
        with pytest.raises(UnavailableError, match=message):
            is_let_in("http://127.0.0.1:1", loaded(tmp_path, f"sigv4: {{{text}}}"))


def test_no_credentials_are_carried_to_another_host(tmp_path: Path) -> None:
    seen: list[Message] = []

    def elsewhere(_: str, headers: Message) -> int:
        seen.append(headers)
        return 200

    with demanding(elsewhere) as other:

        class Redirecting(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(302)
                self.send_header("Location", f"http://{other}{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            access = loaded(tmp_path, "bearer_token: abc\nhttp_headers: {X-Scope-OrgID: {values: [a]}}")
            with pytest.raises(UnavailableError, match=f"redirected to http://{other}, and not followed"):
                is_let_in(f"http://127.0.0.1:{server.server_port}", access)
            server.shutdown()
            thread.join()

    assert seen == []


SECRET = "Seed-pw-7"
HASH = "$2b$04$QgGZ0bkw2Mf5xT.PDqW0/OoCIQS9J9JwHFnWJ1tJXAh1AyTFnIceG"


@pytest.fixture(scope="module")
def guarded_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real Prometheus that asks for a user and a password, and yield its place."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "web.yml").write_text(f"basic_auth_users: {{ada: '{HASH}'}}")
    (folder / "prometheus.yml").write_text("scrape_configs: []")
    place = f"127.0.0.1:{free_port()}"
    options = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={place}",
        f"--web.config.file={folder / 'web.yml'}",
    ]
    process = subprocess.Popen([find_prometheus(), *options], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not is_up(f"http://{place}") and time.monotonic() < until:
        time.sleep(0.1)
    yield place
    process.terminate()
    process.wait()


def is_up(url: str) -> bool:
    try:
        PrometheusApi(f"{url.replace('//', f'//ada:{SECRET}@')}").instant("1", NOW, timeout=timedelta(seconds=2))
    except UnavailableError:
        return False
    return True


def test_a_real_prometheus_with_basic_auth_lets_us_in(guarded_prometheus: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET)
    access = loaded(tmp_path, "basic_auth: {username: ada, password_file: password}")

    answer = PrometheusApi(f"http://{guarded_prometheus}", access).instant("1", NOW, timeout=timedelta(seconds=5))

    assert [series.values.tolist() for series in answer.series] == [[1.0]]
    wrong = loaded(tmp_path, "basic_auth: {username: ada, password: other}")
    with pytest.raises(AccessDeniedError, match=r"HTTP 401.*CANARY_PROMETHEUS_CONFIG"):
        PrometheusApi(f"http://{guarded_prometheus}", wrong).instant("1", NOW, timeout=timedelta(seconds=5))


def test_what_a_real_prometheus_answers_is_read(guarded_prometheus: str) -> None:
    api = PrometheusApi(f"http://ada:{SECRET}@{guarded_prometheus}")

    nothing = api.samples("up", NOW - timedelta(minutes=1), NOW, timeout=timedelta(seconds=5))

    assert nothing.series == ()
    with pytest.raises(UnavailableError, match=r"HTTP 400 \(bad_data: .*parse error"):
        api.instant("up{", NOW, timeout=timedelta(seconds=5))
    with pytest.raises(UnavailableError, match="resultType is matrix, expected vector or scalar"):
        api.instant("up[5m:1m]", NOW, timeout=timedelta(seconds=5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "got no mapping, allowed: authorization, bearer_token"),
        ("a: [", "not YAML, line 1"),
        ("bearer_tokn: hunter2", "bearer_tokn: unknown key, allowed: authorization, bearer_token, "),
        ("tls_config: {ca: hunter2}", "tls_config.ca: unknown key, allowed: ca_file, cert_file, key_file"),
        ("basic_auth: hunter2", "basic_auth: got no mapping, allowed: a mapping"),
        ("basic_auth: {password: hunter2}", "basic_auth.username: missing, it has to be given"),
        ("basic_auth: {username: a, password: hunter2, password_file: access.yaml}", "password_file: got it together"),
        ("bearer_token: hunter2\nbasic_auth: {username: a}", "basic_auth: got it together with bearer_token"),
        ("authorization: {type: Basic, credentials: hunter2}", "authorization.type: got another, allowed: "),
        ("authorization: {}", "authorization.credentials: missing, allowed: credentials or credentials_file"),
        ('bearer_token: "hunter2\\nX: y"', "bearer_token: allowed: printable ASCII in one line"),
        ("bearer_token_file: gone", "gone', allowed: a file that can be read"),
        ("tls_config: {key_file: access.yaml}", "tls_config.cert_file: missing, it has to be given with key_file"),
        ("tls_config: {insecure_skip_verify: perhaps}", "insecure_skip_verify: got neither, allowed: true"),
        ("http_headers: {Authorization: {secrets: [hunter2]}}", "got the name 'Authorization'"),
        ("http_headers: {X-A: hunter2}", "http_headers.X-A: got no mapping, allowed: a mapping"),
        ('http_headers: {X-A: {secrets: ["hunter2\\r"]}}', "http_headers.X-A.secrets[0]: allowed: printable"),
        ("proxy_url: ada:hunter2@proxy", "proxy_url: got 'an address that cannot be read', allowed: http://"),
        ("timeout: soon", "timeout: allowed: a duration such as 200ms"),
        ("timeout: 0s", "timeout: got 0s, allowed: above 0s"),
        ("sigv4: {secret_key: hunter2}", "sigv4.access_key: missing, allowed: access_key and secret_key, or neither"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_by_field_and_never_with_a_secret(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PlanError) as error:
        loaded(tmp_path, text)

    assert str(error.value).startswith(f"{tmp_path / 'access.yaml'}: ")
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_file_that_cannot_be_read_is_told_by_the_setting(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"CANARY_PROMETHEUS_CONFIG: .*gone\.yaml cannot be read: No such file"):
        AccessSettings(config=tmp_path / "gone.yaml").load()


@pytest.mark.parametrize(
    "text", ["hunter2", "X-A=", "=hunter2", "X-A=a,hunter2", "Authorization=hunter2", "X A=hunter2"]
)
def test_wrong_headers_are_told_without_their_values(text: str) -> None:
    with pytest.raises(PlanError, match=r"CANARY_PROMETHEUS_HEADERS|http_headers") as error:
        AccessSettings(headers=text).load()

    assert "hunter2" not in str(error.value)


def test_a_wrong_setting_is_no_error_before_prometheus_is_asked(tmp_path: Path) -> None:
    api = PrometheusApi(Address("http://ada:p#w@nowhere:x"), AccessSettings(config=tmp_path / "gone.yaml").load)

    with pytest.raises(UnavailableError, match=r"gone\.yaml cannot be read"):
        api.instant("up", NOW, timeout=timedelta(seconds=5))
    with pytest.raises(UnavailableError, match="an address that cannot be read"):
        PrometheusApi("http://ada:p#w@nowhere:x").instant("up", NOW, timeout=timedelta(seconds=5))


def test_a_files_damage_after_the_start_is_told_without_its_content(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc")
    access = Access(bearer_token_file=token)
    for content in ("hunter2\nhunter3", "", "hunter2 é"):
        token.write_text(content)
        with pytest.raises(UnavailableError, match=r"bearer_token_file: .*token holds no single line") as error:
            is_let_in("http://127.0.0.1:1", access)
        assert "hunter2" not in str(error.value)

    token.unlink()
    with pytest.raises(UnavailableError, match=r"bearer_token_file: .*token cannot be read: No such file"):
        is_let_in("http://127.0.0.1:1", access)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://ada:pw@prometheus:9090/x/", "http://prometheus:9090/x"),
        ("https://[::1]:9090?token=s3cret", "https://[::1]:9090"),
        ("http://ada:p/w@prometheus", "an address that cannot be read"),
        ("http://ada:12/w@prometheus", "an address that cannot be read"),
        ("http://ada:12?w@prometheus", "an address that cannot be read"),
        ("http://ada:12#w@prometheus", "an address that cannot be read"),
        ("prometheus:9090", "prometheus:9090"),
        ("http://prometheus:99999", "http://prometheus:99999"),
        ("", ""),
    ],
)
def test_an_address_shows_no_secret(text: str, url: str) -> None:
    address = Address(text)

    assert str(address) == address.url == url
    assert repr(address) == f"Address({url!r})"
