"""Delays and false alarms as figures: counted, set beside the bound, held against the goals, printed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from benchmarks.simulated.contenders import Decisions
from benchmarks.simulated.families import Family

Floats = npt.NDArray[np.float64]

OURS = "judge"
SCRAPE = 5.0


@dataclass(frozen=True, slots=True)
class Figure:
    """How one contender did in one family; seconds, shares 0-1, infinite for never."""

    family: str
    kind: str
    """`healthy`, `faulty` or `promotable`."""
    contender: str
    horizon: float
    """Seconds watched."""
    runs: int
    rolled_back: int
    promoted: int
    """Runs in which the evidence alone would have allowed promotion at some scrape, before any rollback."""
    median: float
    """Of the delay from the fault's onset to the rollback; of promotable families from the start to promotion."""
    p95: float
    bound: float
    """The least mean delay that any test can have; NaN where there is nothing to find."""

    @property
    def share(self) -> float:
        """The share of the runs that was rolled back."""
        return self.rolled_back / self.runs

    @property
    def ratio(self) -> float:
        """The median delay over the bound."""
        return self.median / self.bound


def figure(
    family: Family, kind: str, contender: str, decisions: Decisions, *, horizon: float, bound: float = math.nan
) -> Figure:
    """Return the figure that decisions make.

    Parameters
    ----------
    family, kind, contender
        What was tried, and who judged.
    decisions
        One entry a run.
    horizon
        Seconds after the canary's first traffic up to which decisions count.
    bound
        The information bound in seconds.
    """
    rolled = np.where(decisions.rollback_at <= horizon, decisions.rollback_at, np.inf)
    promoted = (decisions.promote_at <= horizon) & (decisions.promote_at < rolled)
    times = np.where(promoted, decisions.promote_at, np.inf) if kind == "promotable" else rolled - family.fault.onset
    return Figure(
        family=family.name,
        kind=kind,
        contender=contender,
        horizon=horizon,
        runs=len(rolled),
        rolled_back=int(np.isfinite(rolled).sum()),
        promoted=int(promoted.sum()),
        median=float(np.quantile(times, 0.5, method="higher")),
        p95=float(np.quantile(times, 0.95, method="higher")),
        bound=bound,
    )


def upper_limit(events: int, runs: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper limit of a probability (Clopper, Pearson 1934)."""
    return float(betaincinv(events + 1, runs - events, confidence)) if events < runs else 1.0


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return figures as plain data; never and nothing are null."""
    return [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in map(asdict, figures)
    ]


def from_json(path: Path) -> list[Figure]:
    """Return the figures that `as_json` made a file of."""
    missing: dict[str, Any] = {"bound": math.nan, "median": math.inf, "p95": math.inf}
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return [Figure(**{name: missing[name] if row[name] is None else row[name] for name in row}) for row in rows]


def in_words(figures: Sequence[Figure]) -> str:
    """Return what our judge did in one family, as a line."""
    ours = [each for each in figures if each.contender == OURS][-1]
    return f"{ours.family}: {ours.runs} runs, {_CELLS[ours.kind](ours)}"


def tables(figures: Sequence[Figure]) -> str:
    """Return all figures as Markdown tables."""
    kinds = {each.kind for each in figures}
    return "\n\n".join(f"{_TITLES[kind]}\n\n{_table(figures, kind)}" for kind in _TITLES if kind in kinds)


_TITLES = {
    "healthy": "False rollback of a healthy canary, share of runs",
    "faulty": "Seconds from a fault to the rollback: median (p95), share found if not all; the z-test breaks its alpha",
    "promotable": "Seconds until the evidence alone would promote a healthy canary: median (p95)",
}


def _table(figures: Sequence[Figure], kind: str) -> str:
    text, with_bound = _CELLS[kind], kind == "faulty"
    mine = [each for each in figures if each.kind == kind]
    columns = list(dict.fromkeys((each.contender, each.horizon) for each in mine))
    heads = ["family", *(["bound"] if with_bound else []), *(_head(*column, columns) for column in columns)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for family in dict.fromkeys(each.family for each in mine):
        cells = {(each.contender, each.horizon): each for each in mine if each.family == family}
        first = next(iter(cells.values()))
        row = [family, *([f"{first.bound:.3g}"] if with_bound else [])]
        row += [text(cells[column]) if column in cells else "" for column in columns]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _head(contender: str, horizon: float, columns: list[tuple[str, float]]) -> str:
    several = len({each for name, each in columns if name == contender}) > 1
    return f"{contender} {horizon / 3600:g} h" if several else contender


def _share_text(each: Figure) -> str:
    return f"{each.share:.3g}" if each.rolled_back else "0"


def _delay_text(each: Figure) -> str:
    found = "" if each.share == 1 else f", {each.share:.0%}"
    ratio = f", {each.ratio:.2f} x" if each.contender == OURS and math.isfinite(each.ratio) else ""
    return f"{_seconds(each.median)} ({_seconds(each.p95)}){found}{ratio}"


def _promotion_text(each: Figure) -> str:
    return f"{_seconds(each.median)} ({_seconds(each.p95)}), {each.promoted / each.runs:.0%} promoted"


_CELLS = {"healthy": _share_text, "faulty": _delay_text, "promotable": _promotion_text}


def _seconds(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "never"


_PROMOTED_WITHIN = {"healthy 0.05 %": 1200.0, "healthy 0.01 %": 300.0, "healthy, no errors, 10 rps": 4050 / 2.0}
_FOUND_WITHIN = {"errors 5 % amid pod bursts": 60.0, "errors x5, beta-binomial": 240.0}
_NO_BOUND = {*_FOUND_WITHIN, "onset 10 min, x5"}
"""The bound is that of independent requests and a known onset."""


def pooled(figures: Sequence[Figure]) -> Iterator[str]:
    """Yield what our judge did over all families: false rollbacks and false promotions, with their upper limits."""
    ours = [each for each in figures if each.contender == OURS]
    healthy = _longest([each for each in ours if each.kind == "healthy"])
    faulty = [each for each in ours if each.kind == "faulty"]
    for what, counts in (
        ("healthy canaries rolled back", [(each.rolled_back, each.runs) for each in healthy]),
        ("bad canaries promotable", [(each.promoted, each.runs) for each in faulty]),
    ):
        events, runs = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        if runs:
            yield f"{what}: {events} of {runs}, at most {upper_limit(events, runs):.2%} at 95 %"


def _longest(figures: Sequence[Figure]) -> list[Figure]:
    longest = max((each.horizon for each in figures), default=0.0)
    return [each for each in figures if each.horizon == longest]


def unmet(figures: Sequence[Figure]) -> Iterator[str]:
    """Yield what the judge should have shown and did not, a line each."""
    ours = [each for each in figures if each.contender == OURS]
    yield from _unmet_alarms([each for each in ours if each.kind == "healthy"])
    yield from _unmet_delays([each for each in ours if each.kind == "faulty"])
    for each in ours:
        if (goal := _PROMOTED_WITHIN.get(each.family)) and each.median > goal:
            yield f"{each.family}: promotable after {_seconds(each.median)} s median, allowed {goal:.0f}"


def _unmet_alarms(healthy: list[Figure]) -> Iterator[str]:
    last = _longest(healthy)
    longest = max((each.horizon for each in last), default=0.0)
    runs, alarms = sum(each.runs for each in last), sum(each.rolled_back for each in last)
    if runs and alarms / runs > 0.01:
        yield f"false rollback in {alarms} of {runs} runs over {longest / 3600:g} h, allowed 1 %"
    for each in last:
        if each.rolled_back and upper_limit(each.runs - each.rolled_back, each.runs) < 0.99:
            yield f"{each.family}: false rollback in {each.rolled_back} of {each.runs} runs, not consistent with 1 %"


def _unmet_delays(faulty: list[Figure]) -> Iterator[str]:
    for each in faulty:
        goal = _FOUND_WITHIN.get(each.family, max(1.5 * each.bound, 3 * SCRAPE) if each.bound >= 20 else 3 * SCRAPE)
        if each.family not in _NO_BOUND - set(_FOUND_WITHIN) and each.median > goal:
            yield f"{each.family}: found after {_seconds(each.median)} s median, allowed {goal:.0f}"
    runs, promoted = sum(each.runs for each in faulty), sum(each.promoted for each in faulty)
    if runs and promoted / runs > 0.01:
        yield f"false promotion in {promoted} of {runs} runs of a bad canary, allowed 1 %"
