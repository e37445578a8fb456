"""A server's address, which may hold secrets: as a text it shows none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from rollout.errors import PlanError

_PORTS: Final = {"http": 80, "https": 443}
_NOT_SHOWN: Final = "an address that cannot be read"


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where a server answers, as it is written; user, password and query go to it and are never shown.

    A settings model reads it from a text. What is dumped has no secrets, so they get into no record and no form. A
    wrong address is an error once it is used: what needs no Prometheus must not fail by it.
    """

    text: str

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"Address({self.url!r})"

    @property
    def url(self) -> str:
        """Scheme, host, port and path, without a slash at its end."""
        if parts := self._parts():
            return f"{parts.scheme}://{_host(parts)}{parts.path.rstrip('/')}"
        return _NOT_SHOWN if set(self.text) & set("@?#") else self.text

    @property
    def origin(self) -> str:
        """Scheme, host and port; empty where the address cannot be read."""
        return origin_of(self.url) if self._parts() else ""

    @property
    def host(self) -> str:
        """The host's name or number alone."""
        parts = self._parts()
        return (parts.hostname or "") if parts else ""

    @property
    def user(self) -> tuple[str, str] | None:
        """Name and password, where they are given."""
        parts = self._parts()
        return (unquote(parts.username or ""), unquote(parts.password or "")) if parts and "@" in parts.netloc else None

    @property
    def query(self) -> dict[str, str]:
        """Parameters that go with every query, such as Thanos' `partial_response`."""
        parts = self._parts()
        return dict(parse_qsl(parts.query, keep_blank_values=True)) if parts else {}

    @property
    def with_user(self) -> str:
        """The address with user and password, as a proxy's is given."""
        parts = self._parts()
        return urlunsplit(parts._replace(query="", fragment="")) if parts else ""

    def check(self, setting: str) -> None:
        """Raise PlanError unless the address can be used."""
        if not self._parts():
            raise PlanError(f"{setting}: got {self.url!r}, allowed: http:// or https://, a host, a port, a path")

    def _parts(self) -> SplitResult | None:
        try:
            parts = urlsplit(self.text)
            host = _host(parts)
        except ValueError:
            return None
        # A slash, a question mark or a number sign that stands unquoted in a password ends the host's part too early.
        is_whole = "@" not in parts.path + parts.query and "#" not in self.text
        usable = parts.scheme in _PORTS and host and is_whole and self.text.isprintable() and " " not in self.text
        return parts if usable else None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=text,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), text]),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string"}


def origin_of(url: str) -> str:
    """Return a URL's scheme, host and port, or raise ValueError."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _host(parts: SplitResult) -> str:
    """Return host and port, as they are written in an address, or raise ValueError."""
    name = parts.hostname or ""
    port = f":{parts.port}" if parts.port is not None else ""
    return f"[{name}]{port}" if ":" in name else f"{name}{port}" if name else ""
