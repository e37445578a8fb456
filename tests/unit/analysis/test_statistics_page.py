"""The page that explains the judge, run as it stands; and the examples in the docstrings of the room."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest


def test_every_snippet_of_the_statistics_page_gives_what_it_shows() -> None:
    failed, tried = doctest.testfile("docs/statistics.md", module_relative=False)

    assert tried > 10
    assert failed == 0


EXAMPLES = [path for path in sorted(Path("analysis").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("module", [".".join(path.with_suffix("").parts) for path in EXAMPLES])
def test_the_examples_in_the_docstrings_give_what_they_show(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_the_chart_is_drawn_as_its_example_shows() -> None:
    assert doctest.testmod(importlib.import_module("benchmarks.sketch")).failed == 0
