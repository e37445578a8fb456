"""A few cells of the fault matrix, each of another kind; `make faults` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cells import Cell, cells
from tests.faults.matrix import run_cell

pytestmark = pytest.mark.e2e
FAST = [cell for cell in cells() if cell.is_fast]


@pytest.mark.parametrize("cell", FAST, ids=lambda cell: cell.name)
def test_every_invariant_holds(cell: Cell, tmp_path: Path) -> None:
    assert run_cell(cell, tmp_path / "cell").judged.broken == ()
