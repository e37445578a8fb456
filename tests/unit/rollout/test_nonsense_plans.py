"""A plan that is nonsense is refused at once, in few words, whatever it is."""

from __future__ import annotations

import copy
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.profile import parse_profile
from rollout.errors import PlanError
from rollout.formatting import printable
from rollout.plan import parse_plan

TEXT = (Path(__file__).parents[3] / "rollout.yaml").read_text()
VALID = yaml.safe_load(TEXT)


def bomb(levels: int, key: str = "") -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'{key}*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


NONSENSE = {
    "month 13": "a: 2026-13-45",
    "no timestamp": "a: !!timestamp x",
    "no integer": "a: !!int x",
    "no binary": "a: !!binary ü",
    "no object of Python's": "a: !!python/object/apply:os.system ['true']",
    "deep by blocks": "- " * 3000,
    "deep by brackets": "[" * 100_000,
    "deep by braces": "{a: " * 3000,
    "aliases 30 deep": bomb(30),
    "merges 12 deep": "a0: &a0 {b: 1}\n"
    + "\n".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)),
    "a chain of 3000 aliases": "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 3000)),
    "an alias of itself": "a: &a [*a]",
    "a number of 5000 digits": "a: " + "9" * 5000,
    "a hexadecimal one": "alpha: 0x" + "f" * 100_000,
    "a sexagesimal one": "alpha: 1" + ":59" * 30_000,
    "a hundred thousand keys": "\n".join(f"k{n}: 1" for n in range(15_000)),
    "too much": "a: " + "x" * 300_000,
    "nothing": "",
    "a list": "[1, 2]",
    "two documents": "a: 1\n---\nb: 2",
    "a mapping as a key": "? {a: 1}\n: 2",
    "a control character": "a: \x1b[2J",
    "keys of every kind": "1: 2\nnull: 3\ntrue: 4\n2026-01-01: 5\n1.5: 6",
}


@pytest.mark.parametrize("read", [parse_plan, parse_profile])
@pytest.mark.parametrize("text", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_in_few_words(text: str, read: Any) -> None:
    with pytest.raises(PlanError) as refused:
        read(text)

    assert len(str(refused.value)) < 4000
    assert str(refused.value) == printable(str(refused.value))


def test_a_bomb_of_aliases_is_refused_in_one_line() -> None:
    with pytest.raises(PlanError) as refused:
        parse_plan(bomb(9))

    assert str(refused.value) == "plan: more than 20,000 values once its aliases are written out"


def changed(path: str, value: object) -> str:
    plan = copy.deepcopy(VALID)
    *above, last = path.split(".")
    place: Any = plan
    for part in above:
        place = place[int(part)] if part.isdigit() else place[part]
    place[last] = value
    return yaml.safe_dump(plan)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stable.replicas", "one"),
        ("stable.replicas", 10**400),
        ("stable.replicas", float("inf")),
        ("steps.0.canary", "9" * 400 + "%"),
        ("steps.0.bake", "9" * 400 + "h"),
        ("alpha", "9" * 400 + "%"),
        ("service", "a\x1b[2Jb"),
        ("service\x1b[2J", 1),
        ("steps", [{}] * 900),
        ("notify", ["\u202eevil"]),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_field(path: str, value: object) -> None:
    with pytest.raises(PlanError) as refused:
        parse_plan(changed(path, value))

    told = str(refused.value)
    assert path.split(".")[0].removesuffix("\x1b[2J") in told
    assert len(told) < 4000
    assert not [letter for letter in told if unicodedata.category(letter) in ("Cc", "Cf") and letter != "\n"]


@settings(max_examples=300, derandomize=True)
@given(data=st.data())
def test_a_text_with_anything_in_it_is_a_plan_or_an_error_of_ours(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TEXT)))
    cut = data.draw(st.integers(0, 30))
    inserted = data.draw(
        st.text(max_size=20) | st.sampled_from(["&a ", "*a", "<<: ", "!!int ", "? ", "- ", "[", "{", "|", "%"])
    )

    told = ""
    try:
        parse_plan(TEXT[:at] + inserted + TEXT[at + cut :])
    except PlanError as error:
        told = str(error)

    assert told == printable(told)
