"""What `tests/unit/analysis/test_increase_of_proxies.py` says of hundreds of meshes, of ten thousand."""

from __future__ import annotations

import pytest

from tests.unit.analysis.test_increase_of_proxies import FEW, check

HISTORIES, PARTS = 10_000, 20


@pytest.mark.simulation
@pytest.mark.parametrize("part", range(PARTS))
def test_no_request_is_counted_too_often_in_ten_thousand_histories(part: int) -> None:
    size = HISTORIES // PARTS
    for seed in range(FEW + part * size, FEW + (part + 1) * size):
        check(seed)
