"""What the judge remembers, as a value and as text."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from analysis.evidence import kernel
from analysis.evidence.blocks import Evidence, Path
from analysis.evidence.dispersion import DispersionSums
from analysis.evidence.gauges import GaugeState, Level
from analysis.evidence.share_dispersion import ShareDispersion, Stretch
from analysis.evidence.split import EProcess, SplitMonitor
from analysis.scrapes.increase import CounterState
from analysis.scrapes.increments import Scrapes
from analysis.scrapes.reading import Cursor
from rollout.errors import ConflictError

VERSION = 5
"""Of the text; 4, which had other names, is read too. Before it there was no monitor of the split."""
_NAMES_OF_4 = {
    "known": "counters",
    "shown": "latest",
    "heard": "last_canary_request",
    "odd": "skipped_scrapes",
    "left": "prior_left",
    "begun": "step_prior",
    "weights": "mixture_weights",
    "ratio_law": "stable_ratios",
    "latency_law": "stable_histogram",
    "slowness": "latency_moments",
    "paces": "group_latency",
    "differences": "group_variance",
    "fine": "within_limits",
    "scatter": "dispersion_sums",
    "scatter_tail": "dispersion_bucket",
    "asked": "configured",
    "starts": "processes",
    "spread": "dispersion",
}


@dataclass(frozen=True, slots=True)
class LatestEvidence:
    """The evidence after the last scrape, for the verdict."""

    rollback: float = -math.inf
    peak: float = -math.inf
    """The greatest evidence against the canary so far: once enough, enough."""
    parts: tuple[float, ...] = ()
    raw_latency: float = -math.inf
    slow: bool = False
    alone: bool = False
    promotion: tuple[float, ...] = (-math.inf,) * 4
    by_limit: bool = True
    common: bool = False
    last: tuple[float, ...] = (0.0,) * 6
    """Canary's requests, errors and mean ms in the last scrape, then stable's; 0 ms where none was timed."""

    @classmethod
    def after(cls, path: Path, scrapes: Scrapes, peak: float) -> LatestEvidence:
        """Return the evidence after the last of some scrapes, given the greatest one before them."""
        means = scrapes.sums[-1] / np.maximum(scrapes.latency[-1].sum(axis=-1), 1.0)
        last = np.stack([scrapes.requests[-1], scrapes.errors[-1], means], axis=-1)
        return cls(
            rollback=float(path.rollback[-1, 0]),
            peak=max(peak, float(path.rollback[:, 0].max())),
            parts=tuple(path.parts[-1, 0].tolist()),
            raw_latency=float(path.raw_latency[-1, 0]),
            slow=bool(path.slow[-1, 0]),
            alone=bool(path.alone[-1, 0]),
            promotion=tuple(path.promotion[-1, 0].tolist()),
            by_limit=bool(path.by_limit[-1, 0]),
            common=bool(path.common[-1, 0]),
            last=tuple(last.ravel().tolist()),
        )


@dataclass(frozen=True, slots=True)
class JudgeState:
    """All that the judge remembers; `dump_state` makes text of it."""

    cursor: Cursor = field(default_factory=Cursor)
    edges: tuple[float, ...] = (math.inf,)
    evidence: Evidence = field(default_factory=lambda: kernel.blank(1, (math.inf,)))
    latest: LatestEvidence = field(default_factory=LatestEvidence)
    baseline: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Requests, errors, ms and timed requests of stable before the canary had traffic."""
    ready_since: float = math.nan
    """Unix time since when all pods have been ready."""
    last_canary_request: float = math.nan
    """Unix time of the last scrape with a canary request."""
    skipped_scrapes: tuple[int, ...] = ()
    """Of each further ratio: scrapes left out because they counted more events than there could have been."""
    gauges: GaugeState = field(default_factory=GaugeState)
    split: SplitMonitor = field(default_factory=SplitMonitor)


def dump_state(state: JudgeState) -> str:
    """Return the state as JSON text."""
    cursor = replace(state.cursor, counters=state.cursor.counters.lasting)
    gauges = replace(state.gauges, counters=state.gauges.counters.lasting)
    return json.dumps({"version": VERSION} | _plain(replace(state, cursor=cursor, gauges=gauges)))


def load_state(text: str) -> JudgeState:
    """Return the state that `dump_state` made text of.

    Raises
    ------
    ConflictError
        It was kept by a program whose judge remembers other things.
    """
    data = json.loads(text)
    if (version := data.pop("version", 1)) not in (4, VERSION):
        raise ConflictError(f"the judge's evidence was kept in version {version}, allowed: 4 and {VERSION}")
    try:
        return _loaded(_renamed(data) if version == 4 else data)
    except (KeyError, TypeError, ValueError) as error:
        raise ConflictError(f"the judge's evidence was kept by another version of this program: {error}") from error


def _renamed(data: Any) -> Any:
    """Return what version 4 saved with today's names."""
    if isinstance(data, dict):
        return {_NAMES_OF_4.get(name, name): _renamed(value) for name, value in data.items()}
    return [_renamed(value) for value in data] if isinstance(data, list) else data


def _loaded(data: dict[str, Any]) -> JudgeState:
    cursor = data["cursor"]
    waiting = cursor["waiting"]
    return JudgeState(
        cursor=Cursor(
            counters=_counters(cursor["counters"]),
            counted=cursor["counted"],
            gateway=cursor["gateway"],
            seen=(cursor["seen"][0], cursor["seen"][1]),
            alone=cursor["alone"],
            waiting=None if waiting is None else Scrapes(edges=tuple(waiting.pop("edges")), **_arrays(waiting)),
            edges=tuple(cursor["edges"]),
            pods=(tuple(cursor["pods"][0]), tuple(cursor["pods"][1])),
        ),
        edges=tuple(data["edges"]),
        evidence=_evidence(data["evidence"]),
        latest=LatestEvidence(**_tuples(data["latest"])),
        baseline=tuple(data["baseline"]),
        ready_since=data["ready_since"],
        last_canary_request=data["last_canary_request"],
        skipped_scrapes=tuple(data["skipped_scrapes"]),
        gauges=_watch(data["gauges"]),
        split=_split(data["split"]),
    )


def with_edges(state: JudgeState, edges: tuple[float, ...]) -> JudgeState:
    """Return the state with room for these buckets, once they are known."""
    if edges == state.edges:
        return state
    empty = kernel.blank(1, edges, state.evidence.stable_ratios.shape[1])
    known = {
        f.name: getattr(state.evidence, f.name)
        for f in fields(Evidence)
        if f.name not in ("stable_histogram", "step_latency")
    }
    return replace(state, edges=edges, evidence=replace(empty, **known))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"shape": value.shape, "values": value.ravel().tolist()}
    if isinstance(value, dict):
        return [[list(key), value] for key, value in value.items()]
    if isinstance(value, tuple):
        return [_plain(value) for value in value]
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return value


def _watch(data: dict[str, Any]) -> GaugeState:
    breach = data["breach"]
    levels = tuple(Level(**level) for level in data["levels"])
    return GaugeState(levels, Level(**breach) if breach else None, _counters(data["counters"]))


def _counters(data: dict[str, Any]) -> CounterState:
    return CounterState(data["began"], data["time"], moments=tuple(data["moments"]))


def _split(data: dict[str, Any]) -> SplitMonitor:
    wrong, stretches = data.pop("wrong"), data.pop("dispersion")["stretches"]
    processes = tuple(EProcess(**process) for process in data.pop("processes"))
    dispersion = ShareDispersion(tuple(Stretch(**stretch) for stretch in stretches))
    return SplitMonitor(**data, processes=processes, wrong=EProcess(**wrong) if wrong else None, dispersion=dispersion)


def _evidence(data: dict[str, Any]) -> Evidence:
    data.pop("split", None)  # version 4 counted the split here too
    dispersion_sums = DispersionSums(**_arrays(data.pop("dispersion_sums")))
    return Evidence(dispersion_sums=dispersion_sums, **_arrays(data))


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _arrays(data: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(value["values"]).reshape(value["shape"]) for name, value in data.items()}
