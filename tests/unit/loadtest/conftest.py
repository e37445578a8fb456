from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.loadtest.service import serving


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path) as url:
        yield url
