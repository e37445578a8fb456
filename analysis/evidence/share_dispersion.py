"""How much more than binomial the canary's share scatters from block to block, at several lengths of block.

Clients that stay on one track make the share wander: by as much more than binomial as requests come from one client,
and for as long as a client stays. Differences of neighbouring stretches tell, whatever their common mean is; the
longest stretches tell of clients that stay long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

LENGTHS = (1, 4, 16)
"""Blocks of a stretch."""
UNKNOWN = 20.0
"""The scatter before any was seen: as of clients that send some requests each, all to one track."""
MOST = 60.0
_PRIOR = 2.0
"""Differences that the prior is worth."""
_MOST_GROWTH = 4.0
"""From one length to the next, which is four times as long."""
_OUTLIER = 6.0
"""Times the scatter so far that one difference counts for at most: a change of the share is none of its scatter."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Stretches of one length: the one under way, the one before, and how much neighbours have differed."""

    blocks: int = 0
    canary: float = 0.0
    stable: float = 0.0
    last_canary: float = 0.0
    last_stable: float = 0.0
    squares: float = 0.0
    """Sum of squared differences, as multiples of the binomial variance."""
    number: int = 0


@dataclass(frozen=True, slots=True)
class ShareDispersion:
    """One entry for each of `LENGTHS`."""

    stretches: tuple[Stretch, ...] = (Stretch(),) * len(LENGTHS)

    def cut(self) -> ShareDispersion:
        """Return what was learnt, with stretches begun anew: what comes next is no neighbour of what was."""
        return ShareDispersion(
            tuple(Stretch(squares=stretch.squares, number=stretch.number) for stretch in self.stretches)
        )


def with_block(dispersion: ShareDispersion, canary: float, stable: float, configured: float) -> ShareDispersion:
    """Return the scatter with one block added."""
    means = _means(dispersion)
    return ShareDispersion(
        tuple(
            _with_block(stretch, length, mean, canary, stable, configured)
            for stretch, length, mean in zip(dispersion.stretches, LENGTHS, means, strict=True)
        )
    )


def overdispersion(dispersion: ShareDispersion) -> float:
    """Return by what factor the canary's count scatters more than binomial, 1 or more."""
    return min(max(1.0, *_means(dispersion)), MOST)


def _means(dispersion: ShareDispersion) -> list[float]:
    """Return the mean square of each length; as long as little is known of one, it is taken to go on growing."""
    means, growth = [UNKNOWN], 1.0
    for stretch in dispersion.stretches:
        mean = (_PRIOR * growth * means[-1] + stretch.squares) / (_PRIOR + stretch.number)
        growth = min(max(mean / means[-1], 1.0), _MOST_GROWTH)
        means.append(mean)
    return means[1:]


def _with_block(stretch: Stretch, length: int, mean: float, canary: float, stable: float, configured: float) -> Stretch:
    stretch = replace(
        stretch, blocks=stretch.blocks + 1, canary=stretch.canary + canary, stable=stretch.stable + stable
    )
    if stretch.blocks < length:
        return stretch
    now, last = stretch.canary + stretch.stable, stretch.last_canary + stretch.last_stable
    squares, number = stretch.squares, stretch.number
    if last > 0:
        difference = stretch.canary / now - stretch.last_canary / last
        square = difference**2 / (configured * (1 - configured) * (1 / now + 1 / last))
        squares, number = squares + min(square, _OUTLIER * max(mean, 1.0)), number + 1
    return Stretch(last_canary=stretch.canary, last_stable=stretch.stable, squares=squares, number=number)
