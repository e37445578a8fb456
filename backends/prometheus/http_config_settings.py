"""Where access is named: a file in the words of `http_config`, and two short settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from backends.prometheus.http_config import RESERVED, Access
from rollout.errors import PlanError

CONFIG: Final = "CANARY_PROMETHEUS_CONFIG"
TOKEN_FILE: Final = "CANARY_PROMETHEUS_TOKEN_FILE"
HEADERS: Final = "CANARY_PROMETHEUS_HEADERS"
CREDENTIALS: Final = f"{CONFIG}, {TOKEN_FILE} or {HEADERS}"
"""The settings that give credentials."""
_LARGEST: Final = 1024**2


class AccessSettings(BaseModel):
    """Where access is named; nothing is read before it is used."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    config: Path | None = Field(default=None, description="A YAML file in the words of Prometheus' http_config.")
    token_file: Path | None = Field(default=None, description="The file of a bearer token.")
    headers: SecretStr = Field(default=SecretStr(""), description="Headers, such as X-Scope-OrgID=team-a,Name=value.")

    def load(self) -> Access:
        """Return the access that is named.

        Raises
        ------
        PlanError
            One line a mistake: file or setting, field, what is allowed; no value that may be secret.
        """
        source = str(self.config) if self.config else "access to Prometheus"
        document = _document(self.config) if self.config else {}
        if self.token_file:
            document["bearer_token_file"] = str(self.token_file.absolute())
        if headers := self.headers.get_secret_value():
            document["http_headers"] = _mapping(document, "http_headers", source) | _headers(headers)
        folder = self.config.absolute().parent if self.config else Path.cwd()
        try:
            return Access.model_validate(document, context={"folder": folder})
        except ValidationError as error:
            lines = dict.fromkeys(_line(detail) for detail in error.errors(include_input=False, include_url=False))
            raise PlanError("\n".join(f"{source}: {line}" for line in lines)) from None


def _document(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; every scalar is a text, also a password of digits."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise PlanError(f"{path}: larger than 1 MiB, allowed: the words of Prometheus' http_config")
        document = yaml.load(content.decode(), yaml.BaseLoader)
    except OSError as error:
        raise PlanError(f"{CONFIG}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PlanError(f"{path}: not UTF-8, allowed: YAML in UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)  # the error's own text quotes the file
        raise PlanError(f"{path}: not YAML" + (f", line {mark.line + 1}" if mark else "")) from None
    if not isinstance(document, dict):
        raise PlanError(f"{path}: got no mapping, allowed: {', '.join(Access.model_fields)}")
    return document


def _mapping(document: dict[str, Any], name: str, source: str) -> dict[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise PlanError(f"{source}: {name}: got no mapping, allowed: a mapping of header names")
    return value


def _headers(text: str) -> dict[str, Any]:
    """Return the headers of `Name=value,Name=value`; all values count as secret."""
    headers = {}
    for pair in text.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (name and equals and value):
            raise PlanError(f"{HEADERS}: got a part without a name and a value, allowed: Name=value,Name=value")
        if name.lower() in RESERVED:
            raise PlanError(f"{HEADERS}: got {name!r}, allowed: others; credentials go to {TOKEN_FILE} or {CONFIG}")
        headers[name] = {"secrets": [value]}
    return headers


_SHAPES: Final = {
    "missing": "missing, it has to be given",
    "model_type": "got no mapping, allowed: a mapping",
    "dict_type": "got no mapping, allowed: a mapping",
    "tuple_type": "got no list, allowed: a list",
    "string_type": "got no text, allowed: a text",
    "bool_parsing": "got neither, allowed: true or false",
}


def _line(detail: ErrorDetails) -> str:
    """Return a mistake without the value, which may be a secret."""
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    message = detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "extra_forbidden":
            return f"{field}: unknown key, allowed: {', '.join(_allowed(detail['loc']))}"
        case "value_error" if message.startswith(("allowed", "got ")):
            return f"{field}: {message}"
        case "value_error":
            return f"{field}.{message}".lstrip(".")  # a rule across fields names the field itself
        case kind:
            return f"{field}: {_SHAPES.get(kind, message)}"


def _allowed(place: tuple[int | str, ...]) -> list[str]:
    part: Any = Access
    for name in place[:-1]:
        fields = getattr(part, "model_fields", {})
        part = _model(fields[name].annotation) if name in fields else part
    return list(getattr(part, "model_fields", {}))


def _model(annotation: Any) -> Any:
    kinds = [annotation, *get_args(annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
