"""Scatter beyond that of independent requests: found where it is, and not where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.evidence import dispersion
from analysis.evidence.dispersion import CAPS, DispersionSums, capped, choose, fano


def dispersion_of(
    errors: np.ndarray, requests: float = 500.0, pods: np.ndarray | None = None, cuts: int = 1
) -> DispersionSums:
    """Return what is learnt from errors (T,) of one service, one scrape in 5 s."""
    size = len(errors)
    by_pod = np.zeros((size, 0)) if pods is None else pods
    under = [capped(errors.astype(float), by_pod, np.array(cap)) for cap in CAPS]
    counts = np.stack([*under, np.zeros(size)], axis=-1)[:, None]
    series = np.stack([counts, np.full_like(counts, requests)], axis=-1)
    units = np.full((size, 1), max(by_pod.shape[1], 1), dtype=float)
    dispersion_sums = dispersion.blank(1, len(CAPS) + 1)
    for part in np.array_split(np.arange(size), cuts):
        dispersion_sums = dispersion.learn(dispersion_sums, 5.0 * part, series[part], units[part])
    return dispersion_sums


def phi_of(errors: np.ndarray) -> float:
    return float(fano(dispersion_of(errors))[0, len(CAPS) - 1])


@pytest.mark.parametrize("seed", range(5))
def test_independent_errors_have_no_overdispersion(seed: int) -> None:
    assert phi_of(np.random.default_rng(seed).poisson(0.5, 4000)) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_clumps_have_the_fano_factor_of_their_size(seed: int) -> None:
    """Compound Poisson: phi = E c^2 / E c, which is 2 m - 1 = 5 for geometric clumps of mean 3; then the guard."""
    rng = np.random.default_rng(seed)
    clumps = rng.poisson(0.2, 8000)
    errors = np.array([rng.geometric(1 / 3, count).sum() for count in clumps])

    assert phi_of(errors) == pytest.approx(1 + dispersion.GUARD * 4, rel=0.2)


def test_a_trend_is_no_overdispersion() -> None:
    rng = np.random.default_rng(1)
    daily = 2 + 1.5 * np.sin(np.arange(4000) / 4000 * 2 * np.pi)

    assert phi_of(rng.poisson(daily)) < 1.2


def test_learning_in_pieces_is_the_same_as_learning_at_once() -> None:
    errors = np.random.default_rng(2).poisson(0.7, 400)

    whole, pieces = dispersion_of(errors), dispersion_of(errors, cuts=57)

    for name in DispersionSums.__dataclass_fields__:
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), atol=1e-9)


def test_a_pod_counts_for_no_more_than_the_cap_and_what_no_pod_counted_is_one_more() -> None:
    assert capped(np.array(20.0), np.array([15.0, 1.0]), np.array(2.0)) == 2 + 1 + 2
    assert capped(np.array(16.0), np.array([15.0, 1.0]), np.array(np.inf)) == 16


def test_bursts_of_one_pod_are_capped_and_independent_errors_are_not() -> None:
    rng = np.random.default_rng(3)
    calm = rng.poisson(0.05, (4000, 10))
    bursts = (rng.random((4000, 10)) < 0.008) * rng.poisson(15, (4000, 10))

    quiet, _, _ = choose(dispersion_of(calm.sum(axis=1), pods=calm), np.array([0.2]))
    cap, phi, raw = choose(dispersion_of((calm + bursts).sum(axis=1), pods=calm + bursts), np.array([0.2]))

    assert np.isinf(quiet[0])
    assert cap[0] <= 2
    assert phi[0] < 2
    assert raw[0] > 10


def test_with_too_few_errors_to_tell_it_is_careful() -> None:
    cap, phi, raw = choose(dispersion_of(np.zeros(100)), np.array([0.2]))

    assert cap[0] == dispersion.UNKNOWN_CAP
    assert phi[0] == dispersion.UNKNOWN_PHI
    assert raw[0] == 1.0


def test_while_there_is_little_history_a_pod_counts_for_little_more_than_its_share() -> None:
    rng, share = np.random.default_rng(4), np.array([0.2])

    counted = [rng.poisson(mean, (60, 2)) for mean in (0.1, 2.0, 100.0)]
    caps = [choose(dispersion_of(pods.sum(axis=1), pods=pods), share)[0][0] for pods in counted]

    assert caps == [1.0, 8.0, np.inf]
