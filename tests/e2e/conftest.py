from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.runs import DemoRun, run_to_end


@pytest.fixture(scope="session")
def run_demo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DemoRun]:
    """Run `canary demo` with these options to its end, once for all tests, and return what it leaves."""
    runs: dict[tuple[str, ...], DemoRun] = {}

    def run(*options: str) -> DemoRun:
        if options not in runs:
            runs[options] = run_to_end(tmp_path_factory.mktemp("demo"), options)
        return runs[options]

    return run
