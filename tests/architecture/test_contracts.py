"""Each import contract bites: forbidden imports are put into a copy of the tree, and the contracts are seen to break.

Every folder gets a module that nobody has heard of, `stranger.py`, which imports all that has a home somewhere. Where
that is stands here once more, apart from `pyproject.toml`: what the contracts let pass has to be just that.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture.tree import ROOT, folders, modules, top_folders

PURE = ("rollout", "analysis", "conductor", "report")
IMPURE = tuple(name for name in top_folders() if name not in PURE)

NO_IO = "nothing pure touches processes, the wire, the clock or the environment"
NO_FILES = "files have one home where things are pure: analysis.offline"
CLI_LIBRARY = "the CLI library only in cli"
LOCUST = "locust and gevent only in loadtest.worker"
REQUESTS = "requests only in backends.prometheus"
TEMPLATES = "templates only in report"
NO_PREFECT = "what must work when Prefect is down never loads a flow"
LAYERS = "layers: cli -> flows -> wiring -> conductor | backends | loadtest | report -> analysis -> rollout"


class Home(NamedTuple):
    """Where a library or a part of Python may be imported, and the contract that says so."""

    contract: str
    folders: tuple[str, ...]


HOMES: Mapping[str, Home] = {
    **dict.fromkeys(
        ("os", "shutil", "tempfile", "socket", "ssl", "subprocess", "threading", "asyncio", "multiprocessing", "time"),
        Home(NO_IO, IMPURE),
    ),
    "http.client": Home(NO_IO, IMPURE),
    "httpx": Home(NO_IO, IMPURE),
    "urllib3": Home(NO_IO, IMPURE),
    # Of these the next test sees that no more than names are taken.
    "urllib.request": Home(NO_IO, (*IMPURE, "rollout", "report")),
    "signal": Home(NO_IO, (*IMPURE, "rollout")),
    "pathlib": Home(NO_FILES, (*IMPURE, "analysis.offline")),
    "io": Home(NO_FILES, IMPURE),
    "pandas": Home("pandas only in analysis.offline", ("analysis.offline",)),
    "pyarrow": Home(
        "pyarrow only in analysis.offline, and where a benchmark records", ("analysis.offline", "benchmarks")
    ),
    "prefect": Home(
        "prefect only in flows, in the command that may run one, and where a benchmark drives it",
        ("flows", "benchmarks"),
    ),
    "kubernetes": Home("kubernetes only in backends.cluster", ("backends.cluster",)),
    "requests": Home(REQUESTS, ("backends.prometheus",)),
    "botocore": Home(REQUESTS, ("backends.prometheus",)),
    "prometheus_api_client": Home(
        "prometheus_api_client only in backends.prometheus, and where a benchmark holds it against ours",
        ("backends.prometheus", "benchmarks"),
    ),
    "apprise": Home("apprise only in backends.notifiers", ("backends.notifiers",)),
    "locust": Home(LOCUST, ("loadtest.worker",)),
    "gevent": Home(LOCUST, ("loadtest.worker",)),
    "geventhttpclient": Home(LOCUST, ("loadtest.worker",)),
    "typer": Home(CLI_LIBRARY, ("cli",)),
    "click": Home(CLI_LIBRARY, ("cli",)),
    "cyclopts": Home(CLI_LIBRARY, ("cli",)),
    "jinja2": Home(TEMPLATES, ("report",)),
    "markupsafe": Home(TEMPLATES, ("report",)),
    "rich": Home("terminals only where somebody looks", ("wiring", "flows", "cli", "benchmarks")),
    "scipy": Home("scipy only where something is estimated", ("analysis", "loadtest.validation", "benchmarks")),
    "tests": Home("nothing but a benchmark imports tests", ("benchmarks",)),
}


class Breach(NamedTuple):
    """An import that a module may not have."""

    contract: str
    file: str
    imported: str


COMMAND = "cli/commands/status.py"
WITHOUT_PREFECT = [
    str(path) for path in modules() if path.parent == Path("cli/commands") and path.stem not in ("run", "demo", "up")
]
"""The commands that have to work when Prefect is down: all but those that carry flows out."""

BREACHES = [
    Breach(NO_IO, "conductor/watch.py", "http.client"),
    Breach(NO_IO, "conductor/moves.py", "os"),
    Breach(NO_IO, "conductor/routing.py", "urllib.request"),
    Breach("kubernetes only in backends.cluster", "backends/hook_runner.py", "kubernetes"),
    Breach(LOCUST, "loadtest/runner.py", "locust"),
    Breach(NO_PREFECT, COMMAND, "prefect"),
    Breach(NO_PREFECT, "cli/commands/abort.py", "prefect"),
    *(Breach(NO_PREFECT, command, "flows.canary") for command in WITHOUT_PREFECT),
    Breach(NO_PREFECT, "wiring/composition.py", "flows.canary"),
    Breach("what carries flows out is loaded by its own commands alone", COMMAND, "cli.release"),
    Breach(LAYERS, "rollout/decide.py", "analysis.judge"),
    Breach(LAYERS, "analysis/judge.py", "conductor.watch"),
    Breach(LAYERS, "conductor/recovery.py", "backends.notifiers"),
    Breach(LAYERS, "backends/notifiers.py", "loadtest.runner"),
    Breach(LAYERS, "report/rollout/page.py", "wiring.composition"),
    Breach(LAYERS, "wiring/settings.py", "flows.canary"),
    Breach(LAYERS, "flows/drill.py", "cli.options"),
    Breach(LAYERS, "cli/options.py", "benchmarks.simulated.figures"),
    Breach(LAYERS, "cli/main.py", "istio.phases"),
    Breach(
        "the sample service knows no more of the pipeline than its errors and quantities",
        "sample/rpc.py",
        "analysis.judge",
    ),
    Breach(
        "inside analysis: offline -> judge -> verdict -> evidence -> scrapes",
        "analysis/scrapes/reading.py",
        "analysis.judge",
    ),
    Breach(
        "inside conductor: commands -> the moves -> checks | load -> state",
        "conductor/state/journal.py",
        "conductor.rollout",
    ),
    Breach(
        "inside loadtest: what runs in Locust and what judges it know nothing of each other",
        "loadtest/worker/recorder.py",
        "loadtest.validation.validation_run",
    ),
    Breach(
        "inside report: loadtest -> rollout | plan -> charts",
        "report/charts/axes.py",
        "report.rollout.page",
    ),
    Breach(
        "inside backends.cluster: preflight -> environment -> pods -> api",
        "backends/cluster/api/client.py",
        "backends.cluster.environment",
    ),
    Breach("inside cli: main -> the command line -> commands -> what they share", "cli/options.py", "cli.commands.run"),
    Breach("the two backends know nothing of each other", "backends/local/router.py", "backends.cluster.router"),
]
CYCLES = ("no two folders and no two modules of a folder import each other", "rollout/plan.py", "rollout.decide")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each broken contract of a copy that has every forbidden import at once."""
    copy = tmp_path_factory.mktemp("contracts")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name in top_folders():
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in folders():
        (copy / folder / "stranger.py").write_text("".join(f"import {name}\n" for name in HOMES))
    for _, file, imported in (*BREACHES, CYCLES):
        with (copy / file).open("a") as module:
            module.write(f"\nimport {imported}\n")
    return _lint(copy)


def _lint(tree: Path) -> dict[str, str]:
    """Return what import-linter says of each broken contract, by its name."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "500", "NO_COLOR": "1"}
    run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Contracts: " in run.stdout, run.stdout + run.stderr
    _, _, details = run.stdout.partition("Broken contracts\n")
    parts = re.split(r"^(.+)\n-{5,}\n", details, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts)


def _is_in(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def test_the_tree_as_it_is_keeps_every_contract(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in top_folders():
        (tmp_path / name).symlink_to(ROOT / name)

    assert _lint(tmp_path) == {}


def test_every_folder_with_code_is_under_the_contracts() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]

    assert sorted(settings["root_packages"]) == top_folders()


def test_no_contract_is_without_an_import_that_breaks_it(broken: dict[str, str]) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

    assert set(broken) == {contract["name"] for contract in contracts}


@pytest.mark.parametrize("imported", HOMES)
def test_a_new_module_may_import_a_library_only_where_that_has_its_home(imported: str, broken: dict[str, str]) -> None:
    contract, homes = HOMES[imported]
    strangers = {_module(folder / "stranger") for folder in folders()}

    refused = set(re.findall(rf"(\S+\.stranger) -> {imported.split('.')[0]} ", broken.get(contract, "")))

    assert refused == {one for one in strangers if not any(_is_in(one, home) for home in homes)}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.imported} in {breach.file}")
def test_a_forbidden_import_breaks_its_contract(breach: Breach, broken: dict[str, str]) -> None:
    importer = _module(Path(breach.file))
    # A vendor's package is one module to the linter, whatever part of it is imported.
    imported = breach.imported if breach.imported.split(".")[0] in top_folders() else breach.imported.split(".")[0]

    assert f"{importer} -> {imported} " in broken[breach.contract]


def test_two_modules_that_import_each_other_break_a_contract(broken: dict[str, str]) -> None:
    assert "No cycles are allowed in rollout." in broken[CYCLES[0]]


@pytest.mark.parametrize("path", [path for path in modules() if path.parts[0] in PURE], ids=str)
def test_a_pure_module_opens_no_file_imports_by_no_string_and_reads_no_clock(path: Path) -> None:
    """What needs no import, or hides in one that is let pass: no contract can see it."""
    allowed = {"open"} if _is_in(_module(path), "analysis.offline") else set()

    assert set(_hidden_effects(ast.parse((ROOT / path).read_text()))) <= allowed


def _hidden_effects(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="open" | "exec" | "eval" | "input" | "print" | "__import__" as name)):
                yield name
            case ast.Call(func=ast.Attribute(attr="import_module" | "utcnow" | "today" as name)):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="datetime"), attr="now")):
                yield "now"
            case ast.Import(names=names) if any(name.name.startswith("urllib") for name in names):
                yield "urllib"
            case ast.ImportFrom(module=str(module)) if module.startswith("urllib") and module != "urllib.parse":
                yield module
            case ast.ImportFrom(module="signal"):
                yield "signal"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="signal"), attr=attribute)) if attribute != "Signals":
                yield f"signal.{attribute}"


@pytest.mark.parametrize(
    "line",
    ["open('x')", "__import__('os')", "importlib.import_module('os')", "datetime.now()", "import urllib.request",
     "from urllib.request import urlopen", "from signal import raise_signal", "signal.raise_signal(9)"],
)  # fmt: skip
def test_an_effect_without_an_import_of_its_own_is_seen(line: str) -> None:
    assert list(_hidden_effects(ast.parse(line)))
