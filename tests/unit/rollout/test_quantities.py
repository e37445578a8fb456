from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.quantities import format_duration, format_percent, parse_duration, parse_percent


@given(st.integers(0, 10**10))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)

    assert parse_duration(format_duration(duration)) == duration


@given(st.integers(0, 10**6))
def test_a_share_survives_being_written_and_read(millionths: int) -> None:
    assert parse_percent(format_percent(millionths / 1e6)) == pytest.approx(millionths / 1e6, abs=1e-12)


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 parsecs", "s", 5, None, "1e3s", "9999999d", "٣s"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="allowed"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "5", "-5%", "%", 0.05, None, "5 %%", "nan%"])
def test_what_is_no_share_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="allowed"):
        parse_percent(text)
