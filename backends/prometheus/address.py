"""A server's address, which may hold secrets: as a text it shows none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_ALLOWED: Final = "allowed: http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server answers; user, password and query are sent to it and never shown.

    In a settings model it is written as a text; what is read back from a dump has no secrets.
    """

    url: str
    """Scheme, host, port and path, without a slash at its end."""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Parameters that go with every query, such as Thanos' `partial_response`."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address that a text names, or raise ValueError, which shows no secret."""
        try:
            parts = urlsplit(text)
            host, query = _host(parts), tuple(parse_qsl(parts.query, keep_blank_values=True))
        except ValueError:
            raise ValueError(f"got {_shown(text)}, {_ALLOWED}") from None
        if parts.scheme not in ("http", "https") or not host or not text.isprintable() or " " in text:
            raise ValueError(f"got {_shown(text)}, {_ALLOWED}")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", user, password, query)

    def __str__(self) -> str:
        return self.url

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return origin_of(self.url)

    @property
    def host(self) -> str:
        """The host's name or number alone."""
        return urlsplit(self.url).hostname or ""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.no_info_after_validator_function(cls.parse, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=text,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), text]),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string"}


def origin_of(url: str) -> str:
    """Return an address's scheme, host and port, or raise ValueError."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _host(parts: SplitResult) -> str:
    """Return host and port, as they are written in an address."""
    name = parts.hostname or ""
    port = f":{parts.port}" if parts.port is not None else ""
    return f"[{name}]{port}" if ":" in name else f"{name}{port}"


def _shown(text: str) -> str:
    return "an address (not shown, it may hold a password)" if set(text) & set("@?#") else repr(text[:100])
