"""How one gets in: credentials, headers, TLS and proxy, in the words of Prometheus' own `http_config`."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, model_validator

from backends.prometheus.address import Address
from rollout.errors import PlanError
from rollout.quantities import Duration

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
RESERVED: Final = (
    *("authorization", "host", "user-agent", "connection", "keep-alive", "accept-encoding", "transfer-encoding"),
    *("content-encoding", "content-length", "content-type", "te", "upgrade"),
    *("proxy-authenticate", "proxy-authorization", "www-authenticate"),
)
"""Headers that have settings of their own, or none; Prometheus refuses them too."""
_WAYS: Final = ("authorization", "bearer_token", "bearer_token_file", "basic_auth", "sigv4")


def _file(path: Path, info: ValidationInfo) -> Path:
    """Return a file's path, relative to the folder of the file that names it."""
    folder: Path = (info.context or {}).get("folder", Path())
    file = (folder / path).absolute()
    if not file.is_file() or not os.access(file, os.R_OK):
        raise ValueError(f"got {str(file)!r}, allowed: a file that can be read")
    return file


def is_header_value(text: str) -> bool:
    """Return whether a text can stand in a header."""
    return bool(text) and text.isascii() and text.isprintable()


def _header_value(secret: SecretStr) -> SecretStr:
    if not is_header_value(secret.get_secret_value()):
        raise ValueError("allowed: printable ASCII in one line")
    return secret


File = Annotated[Path, AfterValidator(_file)]
"""It is read anew with each query, so that what rotates it needs no restart."""
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _one_of(part: BaseModel, *names: str) -> None:
    given = [name for name in names if getattr(part, name)]
    if len(given) > 1:
        raise ValueError(f"{given[1]}: got it together with {given[0]}, allowed: one of them")


class Authorization(_Part):
    """An `Authorization` header."""

    type: str = Field(default="Bearer", description="The scheme.")
    credentials: HeaderValue | None = Field(default=None, description="What follows it.")
    credentials_file: File | None = Field(default=None, description="The file that holds it.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _one_of(self, "credentials", "credentials_file")
        if self.type.lower() == "basic" or not _TOKEN.fullmatch(self.type):
            raise ValueError("type: got another, allowed: a scheme such as Bearer; for Basic use basic_auth")
        if not (self.credentials or self.credentials_file):
            raise ValueError("credentials: missing, allowed: credentials or credentials_file")
        return self


class BasicAuth(_Part):
    """A user and a password."""

    username: str = Field(description="The user.")
    password: SecretStr | None = Field(default=None, description="The password.")
    password_file: File | None = Field(default=None, description="The file that holds it.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _one_of(self, "password", "password_file")
        return self


class TlsConfig(_Part):
    """Who is trusted, and who we are."""

    ca_file: File | None = Field(default=None, description="Authorities, instead of the usual ones.")
    cert_file: File | None = Field(default=None, description="Our certificate.")
    key_file: File | None = Field(default=None, description="Its key, without a passphrase.")
    server_name: str = Field(default="", description="The name in the server's certificate, unless its host's.")
    insecure_skip_verify: bool = Field(default=False, description="Whether to trust any certificate.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.key_file and not self.cert_file:
            raise ValueError("cert_file: missing, it has to be given with key_file")
        return self


class HttpHeader(_Part):
    """What a header says; several values are joined by commas."""

    values: tuple[HeaderValue, ...] = Field(default=(), description="Values.")
    secrets: tuple[HeaderValue, ...] = Field(default=(), description="Values that are secret.")
    files: tuple[File, ...] = Field(default=(), description="Files that hold values.")


class SigV4(_Part):
    """AWS Signature Version 4, for Amazon Managed Service for Prometheus; what is left out is as the AWS CLI has it."""

    region: str = Field(default="", description="The region.")
    access_key: str = Field(default="", description="The key's id.")
    secret_key: SecretStr | None = Field(default=None, description="The key.")
    profile: str = Field(default="", description="A profile of AWS' own files.")
    role_arn: str = Field(default="", description="A role to be assumed.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.access_key) != bool(self.secret_key):
            missing = "secret_key" if self.access_key else "access_key"
            raise ValueError(f"{missing}: missing, allowed: access_key and secret_key, or neither")
        if find_spec("botocore") is None:
            raise ValueError("region: requests are signed by botocore, which is not installed; the extra sigv4 has it")
        return self


class Access(_Part):
    """How one gets in to a Prometheus-compatible server; by itself without credentials."""

    authorization: Authorization | None = Field(default=None, description="An Authorization header.")
    bearer_token: HeaderValue | None = Field(default=None, description="A token.")
    bearer_token_file: File | None = Field(default=None, description="The file that holds it.")
    basic_auth: BasicAuth | None = Field(default=None, description="User and password.")
    sigv4: SigV4 | None = Field(default=None, description="Signed requests.")
    http_headers: dict[str, HttpHeader] = Field(default={}, description="Further headers, such as a tenant's.")
    tls_config: TlsConfig = Field(default=TlsConfig(), description="Certificates.")
    proxy_url: Address | None = Field(default=None, description="A proxy.")
    follow_redirects: bool = Field(default=True, description="Whether redirects within the server are followed.")
    timeout: Duration | None = Field(default=None, description="Limit of one query, where the caller's is longer.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _one_of(self, *_WAYS)
        for name in self.http_headers:
            if not _TOKEN.fullmatch(name) or name.lower() in RESERVED:
                raise ValueError(f"http_headers: got the name {name!r}, allowed: a header without its own setting")
        if self.timeout is not None and not self.timeout:
            raise ValueError("timeout: got 0s, allowed: above 0s")
        if self.proxy_url:
            _check_proxy(self.proxy_url)
        return self


def _check_proxy(proxy: Address) -> None:
    try:
        proxy.check("proxy_url")
    except PlanError as error:
        raise ValueError(str(error)) from None
