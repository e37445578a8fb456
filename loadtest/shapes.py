"""When requests are due: pure arithmetic, in seconds since the load began."""

from __future__ import annotations

import itertools
from collections.abc import Iterator


def constant(rate: float, start: float = 0.0) -> Iterator[float]:
    """Yield due times at a constant arrival rate, without end.

    Multiplied, not summed, so that an hour of rounding does not move the rate.

    Parameters
    ----------
    rate
        Requests per second, above 0.
    start
        Seconds at which the first one is due.

    >>> list(itertools.islice(constant(4), 3))
    [0.0, 0.25, 0.5]
    """
    return (start + number / rate for number in itertools.count())
