from __future__ import annotations

import ast

import pytest

from benchmarks.mutants.__main__ import MODULES, ROOT
from benchmarks.mutants.mutations import seeded_mutants


def changes(source: str) -> set[str]:
    return {mutant.change for mutant in seeded_mutants(source, size=1000, seed=1)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a < b -> a <= b", "a < b -> a >= b", "a < b -> pass"}),
        ("x = a and b", {"a and b -> a or b", "a and b -> a", "a and b -> b"}),
        ("x = not a", {"not a -> a"}),
        ("x = a + b * 2", {"a + b * 2 -> a - b * 2", "b * 2 -> b / 2", "b * 2 -> b * 3"}),
        ("x = 'key'", {"x = 'key' -> x = 'key_'"}),
        ("x = True", {"x = True -> x = False"}),
        ("x = a if b else c", {"a if b else c -> c if b else a"}),
        ("x = [a for a in b if a]", {"for a in b if a -> for a in b"}),
        ("raise E", {"raise E -> pass"}),
        ("def f(*, x=1.5):\n    return x", {"1.5 -> 3.0", "return x -> return None"}),
    ],
)
def test_a_mutant_has_one_small_change(source: str, expected: set[str]) -> None:
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "x = 'a sentence'",
        "x = f'{a} of 3'",
        "import os",
        "log.info('x', 1)",
        "x: Literal['a']",
        "@dataclass(frozen=True)\nclass A: ...",
    ],
)
def test_what_is_only_said_or_declared_is_left_alone(source: str) -> None:
    assert changes(source) == set()


def test_each_mutant_is_a_whole_module_that_differs_from_the_others() -> None:
    source = "def f(a, b=0):\n    '''F.'''\n    return a < b and not a\n"
    mutants = seeded_mutants(source, size=1000, seed=1)

    modules = {ast.dump(ast.parse(mutant.source)) for mutant in mutants}

    assert len(modules) == len(mutants)
    assert ast.dump(ast.parse(source)) not in modules


def test_the_draw_is_seeded() -> None:
    source = (ROOT / "rollout/decide.py").read_text()

    assert seeded_mutants(source, size=30, seed=4) == seeded_mutants(source, size=30, seed=4)
    assert seeded_mutants(source, size=30, seed=4) != seeded_mutants(source, size=30, seed=5)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_that_is_mutated_and_every_test_of_it_exists(name: str) -> None:
    path, tests = MODULES[name]

    assert [file for file in (path, *(f"tests/{test}" for test in tests)) if not (ROOT / file).exists()] == []
    assert len(seeded_mutants((ROOT / path).read_text(), size=32, seed=1)) >= 30
