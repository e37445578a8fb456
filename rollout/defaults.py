"""Defaults in a JSON schema as a person writes them: `5m` and `0.1%`, which is what a form shows and sends back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter


def as_written(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put each default of a model's own schema in the words that its field reads; a `json_schema_extra`."""
    for name, field in model.model_fields.items():
        told = schema.get("properties", {}).get(field.alias or name, {})
        if "default" in told:
            kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            told["default"] = TypeAdapter(kind).dump_python(field.get_default(call_default_factory=True), mode="json")
