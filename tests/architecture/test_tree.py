"""The tree as a stranger meets it: small folders, arrows one way, one meaning a name, small functions."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import grimp
import pytest

from tests.architecture.tree import ROOT, folders, modules, top_folders

LARGEST_FOLDER = 20
MEDIAN_LINES, MOST_LINES, LONGEST_LINES = 4, 14, 50
"""Lines of the median function's body, of nine in ten, and of the longest."""
TABLES = {"told"}
"""Functions that are one `match` with a line or two for each kind of event: as long as there are kinds."""

TWO_BACKENDS = "the same port, carried out by each backend"
A_COMMAND = "one subject: its logic, its command, its flow, its page"
A_BENCHMARK = "what the product has by this name, measured"
A_LAYER = "one subject in the layers that it goes through"

SAME_THING: Mapping[str, str] = {
    **dict.fromkeys(("environment", "ledger", "lock", "pods", "router", "signals", "workloads"), TWO_BACKENDS),
    **dict.fromkeys(
        (
            "drill",
            "guard",
            "loadtest",
            "plan",
            "status",
            "watch",
            "webhook",
            "commands",
            "backtest",
            "load_test",
            "report",
        ),
        A_COMMAND,
    ),
    **dict.fromkeys(("abort", "cluster", "judge", "load", "recovery", "topup"), A_BENCHMARK),
    **dict.fromkeys(("criteria", "own_metrics"), A_LAYER),
    "rollout": "what a rollout is, how it is carried out, and its page",
    "preflight": "the checks before a rollout: a cluster's own, and those of all that a plan needs",
    "page": "a page that a person reads: a report's, and a run's in Prefect",
    "verdict": "the folder, and its entry",
    "checks": "what is looked at: before a rollout on a cluster, and at each look of a rollout",
    "api": "the client of another program's HTTP interface",
}
"""The names that stand more than once, and why each means the same thing wherever it stands."""


def test_no_folder_has_more_modules_than_a_person_sees_at_once() -> None:
    sizes = Counter(str(path.parent) for path in modules())

    assert {folder: size for folder, size in sizes.items() if size > LARGEST_FOLDER} == {}


def test_no_two_folders_import_each_other() -> None:
    graph = grimp.build_graph(*top_folders(), cache_dir=None)
    places = {".".join(folder.parts) for folder in folders()}
    arrows = {
        (_folder_of(importer, places), _folder_of(imported, places))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }

    assert sorted((one, other) for one, other in arrows if one < other and (other, one) in arrows) == []


def _folder_of(module: str, places: set[str]) -> str:
    return module if module in places else module.rpartition(".")[0]


def test_a_name_that_stands_twice_means_the_same_thing() -> None:
    places = defaultdict(list)
    for path in [*modules(), *folders()]:
        if path.stem == "__main__":
            continue
        places[path.stem].append(str(path))

    assert {name: paths for name, paths in places.items() if len(paths) > 1 and name not in SAME_THING} == {}


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "misc", "base", "manager"])
def test_no_module_has_a_name_that_says_nothing(name: str) -> None:
    assert [str(path) for path in [*modules(), *folders()] if path.stem == name] == []


def test_functions_are_small() -> None:
    sizes = sorted((size, where) for path in modules() for where, size in _functions(path))
    lines = [size for size, _ in sizes]

    assert median(lines) <= MEDIAN_LINES
    assert lines[int(0.9 * len(lines))] <= MOST_LINES
    longest = [(size, where) for size, where in sizes if size > LONGEST_LINES and where.split()[-1] not in TABLES]
    assert longest == []


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    """Return the functions of a module, and how many lines each has without its signature and docstring."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield f"{path}:{node.lineno} {node.name}", (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
