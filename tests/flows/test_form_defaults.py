"""The schemas' defaults are what a person writes: a form that shows them has to be able to send them back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prefect.utilities.callables import parameter_schema

from flows.canary import canary_rollout
from flows.loadtest import load_test_validation
from loadtest.profile import LoadProfile, profile_schema
from rollout.criteria import Part
from rollout.plan import plan_schema

FORMS = {
    "rollout.yaml": plan_schema(),
    "loadtest.yaml": profile_schema(),
    "the form of canary_rollout": parameter_schema(canary_rollout.fn).model_dump_for_openapi(),
    "the form of load_test_validation": parameter_schema(load_test_validation.fn).model_dump_for_openapi(),
}


def defaults(schema: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from defaults(part, f"{path}/{number}")
    if isinstance(schema, dict):
        if "default" in schema:
            yield path, schema
        for name, part in schema.items():
            yield from defaults(part, f"{path}/{name}")


@pytest.mark.parametrize("schema", FORMS.values(), ids=FORMS)
def test_every_default_fits_its_own_schema(schema: dict[str, Any]) -> None:
    known = {name: schema.get(name, {}) for name in ("$defs", "definitions")}
    found = dict(defaults(schema))

    assert len(found) > 20
    wrong = [
        f"{path}: {part['default']!r}: {error.message}"
        for path, part in found.items()
        for error in Draft202012Validator(part | known).iter_errors(part["default"])
    ]
    assert wrong == []


def parts(model: type[Part]) -> Iterator[type[Part]]:
    for part in model.__subclasses__():
        yield part
        yield from parts(part)


def test_a_plan_part_reads_the_defaults_that_its_schema_shows() -> None:
    written = {name: field["default"] for name, field in profile_schema()["properties"].items() if "default" in field}

    assert LoadProfile.model_validate(written) == LoadProfile()
    for part in parts(Part):
        shown = part.model_json_schema()["properties"]
        given = {name: field["default"] for name, field in shown.items() if "default" in field}
        if not set(part.model_json_schema().get("required", ())):
            assert part.model_validate(given) == part(), part.__name__


def test_every_part_of_a_form_says_what_it_is_and_where_it_stands() -> None:
    form = FORMS["the form of canary_rollout"]
    described = {f"#/definitions/{name}" for name, part in form["definitions"].items() if part.get("description")}
    fields = [
        (f"{name}.{field}", told)
        for name, part in form["definitions"].items()
        for field, told in part.get("properties", {}).items()
    ]

    assert len(fields) > 50
    assert [name for name, told in fields if not told.get("description") and told.get("$ref") not in described] == []
    assert [name for name, told in fields if "position" not in told] == []
