"""Recordings of what sources export: real text, but for values that say whose requests they count.

`stable.ok` grows by the requests that stable answers well, `stable.ok.sum` by their durations, `stable.ok.le` by those
that took no longer than the line's `le`; a number grows by itself each scrape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, log
from pathlib import Path
from statistics import NormalDist

import numpy as np

FOLDER = Path(__file__).parent / "recordings"
SCRAPE, ALONE, BOTH = 5, 300, 900
_LINE = re.compile(r"(?P<series>[^{]+\{.*\}) (?P<value>\S+)")
_MEDIAN_MS, _SIGMA = 40.0, 0.7
MEAN_MS = _MEDIAN_MS * float(np.exp(_SIGMA**2 / 2))
_DURATIONS = NormalDist(log(_MEDIAN_MS), _SIGMA)


@dataclass(frozen=True)
class History:
    """Requests of two tracks at each scrape: stable alone at first, then both."""

    began: int
    counts: dict[str, list[float]]
    """Of `stable.ok` and its like, at each scrape so far."""

    @property
    def until(self) -> int:
        return self.began + ALONE + BOTH


def history(began: int, *, failing: float, seed: int) -> History:
    """Return a history in which this share of the canary's requests fails, and 1 in 2,000 of stable's."""
    random = np.random.default_rng(seed)
    scrapes = (ALONE + BOTH) // SCRAPE
    rates = {"stable": (np.full(scrapes, 4000.0), 0.0005), "canary": (np.full(scrapes, 1000.0), failing)}
    rates["canary"][0][: ALONE // SCRAPE] = 0
    counts = {}
    for track, (rate, share) in rates.items():
        requests = random.poisson(rate)
        failed = random.binomial(requests, share)
        counts |= {f"{track}.ok": np.cumsum(requests - failed).tolist(), f"{track}.failed": np.cumsum(failed).tolist()}
    return History(began, counts)


def exported(name: str, history: History, *, instance: str) -> Iterator[str]:
    """Yield a recording as OpenMetrics, with the time of each scrape; no series is there before it counts."""
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    facts = dict(line[2:].split(": ", 1) for line in lines[:2])
    for line in lines[2:]:
        if line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line)
        assert parts, line
        series = f'{parts["series"][:-1]},{facts["target"]},instance="{instance}"}}'
        for scrape, value in enumerate(_values(parts["series"], parts["value"], facts["unit"], history)):
            if value:
                yield f"{series} {value:g} {history.began + (scrape + 1) * SCRAPE}"


def _values(series: str, value: str, unit: str, history: History) -> list[float]:
    scrapes = (ALONE + BOTH) // SCRAPE
    if value.isdecimal():
        return [int(value) * (scrape + 1) for scrape in range(scrapes)]
    kind, what = re.fullmatch(r"(\w+\.\w+)(?:\.(\w+))?", value).groups()  # type: ignore[union-attr]
    share = 1.0
    if what == "sum":
        share = MEAN_MS / {"s": 1000, "ms": 1}[unit]
    if what == "le":
        edge = float(re.search(r'le="([^"]*)"', series)[1]) * {"s": 1000, "ms": 1}[unit]  # type: ignore[index]
        share = 1.0 if edge == inf else _DURATIONS.cdf(log(edge))
    counts = history.counts[kind]
    return [count * share if what == "sum" else round(count * share) for count in counts]
