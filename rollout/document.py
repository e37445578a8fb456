"""A person's YAML: plain data in bounded time, or a line a mistake that names field, value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Final, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from rollout.errors import PlanError
from rollout.formatting import printable

MOST_CHARACTERS: Final = 200_000
MOST_VALUES: Final = 20_000
"""Values that a text may hold once its aliases are written out: a few hundred bytes can mean thousands of millions."""
MOST_LEVELS: Final = 40
MOST_MISTAKES = 20
"""Told of one file: whoever has mended these sees the rest."""
_SHAPES = {
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "keys and values",
    "dict_type": "keys and values",
}
"""What pydantic's kinds of mistakes ask for, in a file's words."""


def read_mapping(text: str, *, source: str, keys: str) -> dict[str, Any]:
    """Return the mapping that YAML text holds.

    Parameters
    ----------
    text
        YAML.
    source
        What to call it in an error, usually the file's name.
    keys
        What its keys should be, for the error where it is no mapping.

    Raises
    ------
    PlanError
        When it is no YAML, no mapping, or larger or deeper than any plan.
    """
    if len(text) > MOST_CHARACTERS:
        raise PlanError(f"{source}: {len(text):,} characters, allowed: {MOST_CHARACTERS:,}")
    try:
        data = _read(text, source)
    except yaml.YAMLError as error:
        raise PlanError(f"{source}: not YAML: {_brief(error)}") from error
    except RecursionError:
        raise PlanError(f"{source}: nested too deep, allowed: {MOST_LEVELS} levels") from None
    except (ValueError, ArithmeticError, AttributeError, LookupError, TypeError) as error:  # such as month 13
        raise PlanError(f"{source}: a value cannot be read: {_brief(error)}") from error
    if not isinstance(data, dict):
        raise PlanError(f"{source}: got {shown(data)}, allowed: a mapping with {keys}")
    return {key if isinstance(key, str) else shown(key): value for key, value in data.items()}


def _read(text: str, source: str) -> object:
    loader = yaml.SafeLoader(text)
    node = loader.get_single_node()
    if node is None:
        return None
    _check_size(node, source)
    return loader.construct_document(node)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _check_size(node: yaml.Node, source: str) -> None:
    sizes = dict[int, tuple[int, int]]()

    def measure(node: yaml.Node, above: frozenset[int]) -> tuple[int, int]:
        """Return how many values there are, and how many levels; an alias counts as what it stands for."""
        if id(node) in above:
            raise PlanError(f"{source}: an alias stands for what holds it, allowed: none that does")
        if id(node) not in sizes:
            parts = [measure(part, above | {id(node)}) for part in _parts(node)]
            sizes[id(node)] = 1 + sum(count for count, _ in parts), 1 + max((levels for _, levels in parts), default=0)
        return sizes[id(node)]

    count, levels = measure(node, frozenset())
    if levels > MOST_LEVELS:
        raise PlanError(f"{source}: {levels} levels deep, allowed: {MOST_LEVELS}")
    if count > MOST_VALUES:
        raise PlanError(f"{source}: more than {MOST_VALUES:,} values once its aliases are written out")


def _parts(node: yaml.Node) -> list[yaml.Node]:
    match node:
        case yaml.SequenceNode(value=parts):
            return list(parts)
        case yaml.MappingNode(value=pairs):
            return [part for pair in pairs for part in pair]
        case _:
            return []


def mistakes(error: ValidationError, *, source: str, schema: str, whole: type[Any]) -> str:
    """Return one line a mistake.

    Parameters
    ----------
    error
        What pydantic found.
    source
        What to call the file.
    schema
        Where its keys are listed.
    whole
        What the file holds: its keys are suggested for unknown ones.
    """
    details = error.errors()
    lines = [_line(detail, schema, whole).removeprefix(": ") for detail in details[:MOST_MISTAKES]]
    if len(details) > MOST_MISTAKES:
        lines.append(f"{len(details) - MOST_MISTAKES} more mistakes")
    return printable("\n".join(f"{source}: {line}" for line in lines))


def _line(detail: ErrorDetails, schema: str, whole: type[Any]) -> str:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in detail["loc"]).lstrip(".")
    message = " ".join(detail["msg"].removeprefix("Value error, ").split())
    match detail["type"]:
        case "missing":
            return f"{field}: missing, it has to be given"
        case "extra_forbidden":
            return f"{field}: unknown key (value {shown(detail['input'])}), {_near(detail['loc'], schema, whole)}"
        case "value_error" if isinstance(detail["input"], dict):
            return f"{field}.{message}".lstrip(".")  # a rule across fields names field and value itself
        case "value_error":
            return f"{field}: got {shown(detail['input'])}, {message}"
        case kind if kind in _SHAPES:
            return f"{field}: got {shown(detail['input'])}, allowed: {_SHAPES[kind]}"
        case _:
            return f"{field}: got {shown(detail['input'])}, allowed: {message[0].lower()}{message[1:]}"


def _near(place: tuple[int | str, ...], schema: str, whole: type[Any]) -> str:
    """Return which key may have been meant, and where the keys are listed."""
    part: Any = whole
    for name in place[:-1]:
        fields = getattr(part, "model_fields", {})
        if isinstance(name, str):
            part = _kind(fields[name].annotation) if name in fields else None
    names = [field.alias or name for name, field in getattr(part, "model_fields", {}).items()]
    near = difflib.get_close_matches(str(place[-1]), names, n=1)
    allowed = f"allowed: the keys in {schema}"
    return f"did you mean {near[0]!r}? {allowed}" if near else allowed


def _kind(annotation: Any) -> Any:
    """Return the model that a field holds, also one of several."""
    return next((_kind(part) for part in get_args(annotation) if part is not Ellipsis), annotation)


def shown(value: object) -> str:
    """Return a value as an error quotes it: in one line, and not all of a long one."""
    text = "nothing" if value is None else _quoted(value, 60)
    return printable(text if len(text) <= 60 else text[:57] + "...")


def _quoted(value: object, most: int) -> str:
    """Return a value's `repr`, written out only so far that this many characters are there."""
    match value:
        case dict():
            parts = (f"{_quoted(key, most)}: {_quoted(part, most)}" for key, part in value.items())
            return "{" + _joined(parts, most) + "}"
        case list():
            return "[" + _joined((_quoted(part, most) for part in value), most) + "]"
        case str():
            return repr(value[: most + 10])
        case bytes():
            return repr(value[: most + 10].decode(errors="replace"))
        case int() if abs(value) >= 10**60:
            return f"a number of {value.bit_length()} bits"
        case _:
            return repr(value)


def _joined(parts: Iterable[str], most: int) -> str:
    text = ""
    for part in parts:
        text += (", " if text else "") + part
        if len(text) > most:
            break
    return text


def as_written(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put each default of a model's own schema in the words that its field reads, and number the fields.

    A `json_schema_extra`. Prefect's database forgets the order of keys; its form goes by `position`.
    """
    for position, (name, field) in enumerate(model.model_fields.items()):
        entry = schema.get("properties", {}).get(field.alias or name)
        if entry is None:
            continue
        entry["position"] = position
        if "default" in entry:
            kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            entry["default"] = TypeAdapter(kind).dump_python(field.get_default(call_default_factory=True), mode="json")
