"""What is installed is what was looked at: every dependency is pinned, with the hashes of its files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
ENTRIES = re.split(r"\n(?=[A-Za-z0-9])", "\n" + re.sub(r"^ *#.*\n", "", LOCK, flags=re.MULTILINE))[1:]
"""One requirement each, with the lines of its hashes."""
NAMES = [re.split(r"[\[=]", entry)[0] for entry in ENTRIES]


def test_every_dependency_is_pinned_with_its_hashes() -> None:
    pinned = re.compile(r"[\w.-]+(\[[\w,-]+\])?==[\w.+!-]+( ; [^\n]+)?( \\\n +--hash=sha256:[0-9a-f]{64})+\s*")

    assert len(ENTRIES) > 100
    assert [entry for entry in ENTRIES if not pinned.fullmatch(entry)] == []


def test_everything_that_the_project_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    locked = set(map(_normal, NAMES))

    assert {_normal(re.split(r"[<>=;\[ ]", one)[0]) for one in asked} <= locked


def test_only_what_has_its_hash_is_installed() -> None:
    assert "pip sync -q --compile-bytecode --require-hashes requirements.lock" in (ROOT / "Makefile").read_text()
    for image in (ROOT / "Dockerfile", ROOT / "sample" / "Dockerfile"):  # uv checks the hashes of constraints too
        assert re.search(r"uv pip install [^&]*--constraint \S*requirements\.lock", image.read_text())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
