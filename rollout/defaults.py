"""A JSON schema as a form shows it: defaults as a person writes them, `5m` and `0.1%`, and fields in our order."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter


def as_written(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put each default of a model's own schema in the words that its field reads, and number the fields.

    A `json_schema_extra`. Prefect's database forgets the order of keys; its form goes by `position`.
    """
    for position, (name, field) in enumerate(model.model_fields.items()):
        told = schema.get("properties", {}).get(field.alias or name)
        if told is None:
            continue
        told["position"] = position
        if "default" in told:
            kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            told["default"] = TypeAdapter(kind).dump_python(field.get_default(call_default_factory=True), mode="json")
