"""What a request to Prometheus carries so that it is let in, and what of that a server must not say to others."""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from requests import PreparedRequest
from requests.auth import AuthBase

from backends.prometheus.address import Address
from backends.prometheus.http_config import Access, BasicAuth, HttpHeader, TlsConfig, is_header_value
from backends.prometheus.transport import default_context
from rollout.errors import UnavailableError

_LARGEST: Final = 64 * 1024
_SHORTEST: Final = 4
"""Characters of a text that is worth hiding: shorter ones stand in every sentence."""
Signer = Callable[[PreparedRequest], None]


class Credentials(AuthBase):
    """Puts into each request what lets it in; files are read anew."""

    def __init__(self, access: Access, address: Address) -> None:
        self._access, self._address = access, address
        self._sign: Signer | None = None
        if access.sigv4:
            from backends.prometheus.sigv4 import signer

            self._sign = signer(access.sigv4)
        self._hidden: tuple[str, ...] = tuple(self._fixed())

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Return the request with its headers."""
        secrets = list(self._fixed())
        for name, header in self._access.http_headers.items():
            values, hidden = _values(name, header)
            request.headers[name] = ", ".join(values)
            secrets += hidden
        if authorization := self._authorization():
            request.headers["Authorization"] = authorization
            secrets += [authorization, authorization.partition(" ")[2]]
        self._hidden = tuple(secrets)
        if self._sign:
            self._sign(request)
        return request

    def hide(self, text: str) -> str:
        """Return a server's text without what a request carried: some servers repeat it in what they say."""
        for secret in sorted(set(self._hidden), key=len, reverse=True):
            if len(secret) >= _SHORTEST:
                for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
                    text = text.replace(form, "***")
        return text

    def _fixed(self) -> Iterator[str]:
        """Yield what is secret in the settings themselves."""
        access = self._access
        for user in (self._address.user, access.proxy_url.user if access.proxy_url else None):
            if user:
                yield from (user[1], _basic(*user))
        yield from self._address.query.values()
        if access.sigv4 and access.sigv4.secret_key:
            yield access.sigv4.secret_key.get_secret_value()
        if access.basic_auth and access.basic_auth.password:
            yield access.basic_auth.password.get_secret_value()

    def _authorization(self) -> str:
        access = self._access
        if access.authorization:
            given, file = access.authorization.credentials, access.authorization.credentials_file
            secret = given.get_secret_value() if given else _read("authorization.credentials_file", file)
            return f"{access.authorization.type} {secret}"
        if access.bearer_token:
            return f"Bearer {access.bearer_token.get_secret_value()}"
        if access.bearer_token_file:
            return f"Bearer {_read('bearer_token_file', access.bearer_token_file)}"
        if access.basic_auth:
            return f"Basic {_basic(access.basic_auth.username, _password(access.basic_auth))}"
        user = None if access.sigv4 else self._address.user
        return f"Basic {_basic(*user)}" if user else ""


class Tls:
    """The certificates of a connection; its context is made anew when a file has changed."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._made: tuple[Any, ssl.SSLContext] | None = None

    def options(self) -> dict[str, Any]:
        """Return what urllib3 makes a connection with."""
        files = tuple(filter(None, (self._config.ca_file, self._config.cert_file, self._config.key_file)))
        state = tuple(_state(file) for file in files)
        if self._made is None or self._made[0] != state:
            self._made = (state, _context(self._config))
        name = {"server_hostname": self._config.server_name} if self._config.server_name else {}
        return {"ssl_context": self._made[1]} | name


def _context(config: TlsConfig) -> ssl.SSLContext:
    authorities = config.ca_file or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    try:
        context = default_context(str(authorities) if authorities else None)
    except (OSError, ValueError):
        raise UnavailableError(f"tls_config.ca_file: {authorities} holds no certificates in PEM") from None
    if config.cert_file:
        try:
            # Without a passphrase of our own OpenSSL would ask for one at the terminal.
            context.load_cert_chain(config.cert_file, config.key_file, password=lambda: b"")
        except (OSError, ValueError):
            files = " and ".join(str(file) for file in (config.cert_file, config.key_file) if file)
            raise UnavailableError(f"tls_config: {files} hold no certificate and its key in PEM") from None
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _state(file: Path) -> tuple[int, int, int]:
    try:
        state = file.stat()
    except OSError as error:
        raise UnavailableError(f"tls_config: {file} cannot be read: {error.strerror}") from None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _values(name: str, header: HttpHeader) -> tuple[list[str], list[str]]:
    """Return a header's values, and those of them that are secret."""
    hidden = [secret.get_secret_value() for secret in header.secrets]
    hidden += [_read(f"http_headers.{name}.files", file) for file in header.files]
    return [value.get_secret_value() for value in header.values] + hidden, hidden


def _password(basic: BasicAuth) -> str:
    if basic.password_file:
        return _read("basic_auth.password_file", basic.password_file, in_header=False)
    return basic.password.get_secret_value() if basic.password else ""


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode(errors="surrogateescape")).decode()


def _read(setting: str, file: Path | None, *, in_header: bool = True) -> str:
    """Return what a file holds, without the white space around it."""
    if file is None:
        return ""
    try:
        with file.open("rb") as opened:
            text = opened.read(_LARGEST + 1).decode().strip()
    except OSError as error:
        raise UnavailableError(f"{setting}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnavailableError(f"{setting}: {file} is no text") from None
    if len(text) > _LARGEST or not text or (in_header and not is_header_value(text)):
        raise UnavailableError(f"{setting}: {file} holds no single line of printable ASCII, at most 64 KiB")
    return text
