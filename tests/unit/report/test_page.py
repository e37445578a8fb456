"""The report page, from the record alone."""

from __future__ import annotations

import pytest
from records import SAMPLES
from report.page import render


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_rollout_has_a_page(name: str) -> None:
    page = render(SAMPLES[name]())

    assert page.lstrip().startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
