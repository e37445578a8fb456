from __future__ import annotations

import pytest

from loadtest.worker.throttle import LEAST_REQUESTS, LEAST_SHARE, Throttle


def looked(throttle: Throttle, *, failures: int, of: int = 100) -> float | None:
    for number in range(of):
        throttle.record(failed=number < failures)
    return throttle.adjust()


def test_a_melting_service_gets_half_of_what_it_got_and_more_again_once_it_is_calm():
    throttle = Throttle(above=0.2)

    assert looked(throttle, failures=30) == 0.3
    assert throttle.share == 0.5
    assert looked(throttle, failures=0) is None
    assert throttle.share == 0.75


def test_it_never_closes_altogether_so_that_recovery_is_seen():
    throttle = Throttle(above=0.2)
    for _ in range(20):
        looked(throttle, failures=100)

    assert throttle.share == LEAST_SHARE


def test_a_handful_of_errors_is_no_meltdown():
    throttle = Throttle(above=0.2)

    assert looked(throttle, failures=LEAST_REQUESTS - 1, of=LEAST_REQUESTS - 1) is None
    assert throttle.share == 1


@pytest.mark.parametrize("share", [1.0, 0.5, 0.75, 1 / 64])
def test_what_is_admitted_is_the_share(share: float):
    throttle = Throttle(above=0.2, share=share)

    assert sum(throttle.admits(number) for number in range(6400)) == round(6400 * share)
