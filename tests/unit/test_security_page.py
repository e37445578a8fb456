"""Each threat that docs/security.md names has a test that tries it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
THREATS = [line for line in PAGE.partition("| threat |")[2].splitlines()[2:] if line.startswith("|")]


@pytest.mark.parametrize("row", THREATS, ids=lambda row: str(row).split("|")[1].strip())
def test_a_threat_has_a_test_that_is_there(row: str) -> None:
    (file, name) = re.findall(r"`(tests/\S+\.py)::(\w+)`", row.rstrip("| ").rpartition("|")[2])[0]

    defined = {
        node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)
    }
    assert name in defined


def test_it_is_one_page() -> None:
    assert len(THREATS) >= 15
    assert len(PAGE.splitlines()) <= 60
