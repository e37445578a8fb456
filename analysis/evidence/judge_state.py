"""What the judge remembers, as a value and as text."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from analysis.evidence import kernel
from analysis.evidence.blocks import Evidence, Path
from analysis.evidence.dispersion import Scatter
from analysis.evidence.gauges import Level, Watch
from analysis.evidence.share_dispersion import Spread, Stretch
from analysis.evidence.split import Since, SplitWatch
from analysis.scrapes.increase import Known
from analysis.scrapes.increments import Scrapes
from analysis.scrapes.reading import Cursor
from rollout.errors import ConflictError

VERSION = 4
"""Of the text; 1 knew no gauges, 2 had other alternatives, 3 knew no kinds of answers and did not watch the split."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The last scrape's evidence, for the verdict and for scrapes without news."""

    rollback: float = -math.inf
    peak: float = -math.inf
    """The greatest evidence against the canary so far: once condemned, condemned."""
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
    def after(cls, path: Path, scrapes: Scrapes, peak: float) -> Shown:
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
    shown: Shown = field(default_factory=Shown)
    baseline: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Requests, errors, ms and timed requests of stable before the canary had traffic."""
    ready_since: float = math.nan
    """Unix time since when all pods have been ready."""
    heard: float = math.nan
    """Unix time of the last scrape with a canary request."""
    odd: tuple[int, ...] = ()
    """Of each further ratio: scrapes left out because they counted more events than there could have been."""
    gauges: Watch = field(default_factory=Watch)
    split: SplitWatch = field(default_factory=SplitWatch)


def dump_state(state: JudgeState) -> str:
    """Return the state as JSON text."""
    cursor = replace(state.cursor, known=state.cursor.known.lasting)
    gauges = replace(state.gauges, known=state.gauges.known.lasting)
    return json.dumps({"version": VERSION} | _plain(replace(state, cursor=cursor, gauges=gauges)))


def load_state(text: str) -> JudgeState:
    """Return the state that `dump_state` made text of.

    Raises
    ------
    ConflictError
        It was kept by a program whose judge remembers other things.
    """
    data = json.loads(text)
    if (version := data.pop("version", 1)) != VERSION:
        raise ConflictError(f"the judge's evidence was kept in version {version}, allowed: {VERSION}")
    try:
        return _loaded(data)
    except (KeyError, TypeError, ValueError) as error:
        raise ConflictError(f"the judge's evidence was kept by another version of this program: {error}") from error


def _loaded(data: dict[str, Any]) -> JudgeState:
    cursor = data["cursor"]
    waiting = cursor["waiting"]
    return JudgeState(
        cursor=Cursor(
            known=_known(cursor["known"]),
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
        shown=Shown(**_tuples(data["shown"])),
        baseline=tuple(data["baseline"]),
        ready_since=data["ready_since"],
        heard=data["heard"],
        odd=tuple(data["odd"]),
        gauges=_watch(data["gauges"]),
        split=_split(data["split"]),
    )


def with_edges(state: JudgeState, edges: tuple[float, ...]) -> JudgeState:
    """Return the state with room for these buckets, once they are known."""
    if edges == state.edges:
        return state
    empty = kernel.blank(1, edges, state.evidence.ratio_law.shape[1])
    known = {
        f.name: getattr(state.evidence, f.name)
        for f in fields(Evidence)
        if f.name not in ("latency_law", "step_latency")
    }
    return replace(state, edges=edges, evidence=replace(empty, **known))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"shape": value.shape, "values": value.ravel().tolist()}
    if isinstance(value, dict):
        return [[list(key), one] for key, one in value.items()]
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return value


def _watch(data: dict[str, Any]) -> Watch:
    breach = data["breach"]
    levels = tuple(Level(**level) for level in data["levels"])
    return Watch(levels, Level(**breach) if breach else None, _known(data["known"]))


def _known(data: dict[str, Any]) -> Known:
    return Known(data["began"], data["time"], moments=tuple(data["moments"]))


def _split(data: dict[str, Any]) -> SplitWatch:
    wrong, stretches = data.pop("wrong"), data.pop("spread")["stretches"]
    starts = tuple(Since(**since) for since in data.pop("starts"))
    spread = Spread(tuple(Stretch(**stretch) for stretch in stretches))
    return SplitWatch(**data, starts=starts, wrong=Since(**wrong) if wrong else None, spread=spread)


def _evidence(data: dict[str, Any]) -> Evidence:
    scatter = Scatter(**_arrays(data.pop("scatter")))
    return Evidence(scatter=scatter, **_arrays(data))


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(one) if isinstance(one, list) else one for name, one in data.items()}


def _arrays(data: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(one["values"]).reshape(one["shape"]) for name, one in data.items()}
