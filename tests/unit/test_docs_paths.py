"""Every file and module that a page names exists. Decision records and the changelog tell of their own day."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
FOLDERS = {str(folder) for file in FILES for folder in Path(file).parents}
PACKAGES = sorted({Path(file).parts[0] for file in FILES if file.endswith(".py") and "/" in file})
TOP = "|".join(map(re.escape, sorted({Path(file).parts[0] for file in FILES if "/" in file})))
PATH = re.compile(rf"(?<![\w./-])(?:{TOP})/[\w./-]*\w")
PYTHON_FILE = re.compile(r"(?<![\w/.-])\w+\.py\b")
DOTTED = re.compile(rf"(?<![\w./-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+\b(?![/-])")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
ELSEWHERE = {"istio/proxy"}  # a repository of Istio's
SUFFIXES = {Path(file).suffix[1:] for file in FILES} | {"html", "xml", "csv", "parquet"}


def is_there(path: str) -> bool:
    return path.rstrip("/.") in FOLDERS or path.rstrip("/.") in FILES


def is_module(dotted: str) -> bool:
    parts = dotted.split(".")
    return is_there("/".join(parts)) or is_there("/".join(parts) + ".py")


def is_defined(dotted: str) -> bool:
    """Return whether a dotted name is a package, a module, or a name at the top of one."""
    module, _, name = dotted.rpartition(".")
    if is_module(dotted):
        return True
    file = ROOT / f"{module.replace('.', '/')}.py"
    if not file.is_file():
        return "." in module and is_defined(module)
    tree = ast.parse(file.read_text())
    return any(name in (getattr(node, "name", None), getattr(node, "id", None)) for node in ast.walk(tree))


def missing(text: str, page: Path) -> list[str]:
    paths = [path for path in PATH.findall(text) if path not in ELSEWHERE and not is_there(path)]
    files = [name for name in PYTHON_FILE.findall(text) if not any(Path(file).name == name for file in FILES)]
    names = [name for name in DOTTED.findall(text) if name.rpartition(".")[2] not in SUFFIXES and not is_defined(name)]
    links = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    return sorted({*paths, *files, *names, *links})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_module_that_a_page_names_exists(page: Path) -> None:
    assert missing(page.read_text(), page) == []


@pytest.mark.parametrize("gone", ["rollout/gone.py", "gone.py", "rollout.gone", "rollout.decide.gone", "[it](gone.md)"])
def test_what_does_not_exist_is_noticed(gone: str) -> None:
    text = f"See `{gone}`, `rollout/decide.py`, `rollout.decide.decide` and [the pages](../README.md)."

    assert len(missing(text, ROOT / "docs" / "page.md")) == 1


def test_the_glossary_is_in_alphabetical_order_and_names_each_term_once() -> None:
    rows = [line for line in (ROOT / "docs" / "glossary.md").read_text().splitlines() if line.startswith("| ")][1:]
    terms = [row.split("|")[1].strip().lower() for row in rows]

    assert terms == sorted(set(terms), key=lambda term: term.replace("-", " "))


def test_the_modules_that_the_architecture_page_lists_are_in_their_folders() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Folder by folder")[2].partition("## ")[0]
    rows = re.findall(r"^\| `([\w/]+/)` \| (.*) \|$", text, flags=re.MULTILINE)
    listed = [f"{folder}{name}" for folder, modules in rows for name in re.findall(r"`([\w/]+)`", modules)]

    assert len(rows) > 20
    assert [name for name in listed if not is_module(name.rstrip("/").replace("/", "."))] == []


def test_each_folder_has_a_job_and_an_entry_on_the_architecture_page() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## One scrape")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    entries = [(cells[0], file) for cells in rows for file in re.findall(r"`([\w/.]+)`", cells[2])]

    assert entries
    assert [
        entry
        for entry in entries
        if not any(is_there(f"{f}/{entry[1]}") or is_there(entry[1]) for f in re.findall(r"`([\w/]+)/`", entry[0]))
    ] == []
    assert set(PACKAGES) <= {folder for cells in rows for folder in re.findall(r"`([\w/]+)/`", cells[0])}
