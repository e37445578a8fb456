"""The matrix: which fault at which moment, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.faults import meddling as fault
from tests.faults.invariants import FAILED, HELD, PROMOTED, ROLLED_BACK, Expected, Loss
from tests.faults.scene import Scene

Moment = str
MOMENTS: dict[Moment, Callable[[Scene], bool]] = {
    "start": lambda scene: scene.has("started"),
    "baseline": lambda scene: scene.has("started") and scene.state.exists(),
    "hook": lambda scene: scene.has("baseline checked"),
    "mirror": lambda scene: scene.has("scaled", track="canary"),
    "shift": lambda scene: scene.has("weights set", canary=20),
    "step 1": lambda scene: scene.has("step started", step="introduce"),
    "step 2": lambda scene: scene.has("step started", step="increase"),
    "approval": lambda scene: scene.has("approval asked"),
    "full": lambda scene: scene.has("step started", step="full"),
    "promotion": lambda scene: scene.has("decision made", decision="promote"),
    "rollback": lambda scene: scene.has("decision made", decision="roll back"),
    "retention": lambda scene: scene.has("ended", state="promoted"),
}
"""When a moment has come, by the record. A rollback is brought about by a canary that fails in step 1."""
AFTER_SECONDS = {
    "baseline": 1.0,
    "hook": 1.5,
    "mirror": 2.0,
    "step 1": 1.0,
    "step 2": 0.5,
    "approval": 0.5,
    "full": 0.5,
    "retention": 0.5,
}


@dataclass(frozen=True)
class Cell:
    """One fault at one moment."""

    moment: Moment
    fault: str
    do: fault.Fault
    expected: Expected
    policy: str = "restore"
    approves: bool = False
    """Whether somebody agrees, some seconds after the fault."""
    is_hostile: bool = False
    on_tmpfs: bool = False
    has_load: bool = False
    """Whether the rollout has a load generator of its own."""
    with_prefect: bool = False
    is_fast: bool = False
    """Part of `make test`."""
    seconds: float = 150.0
    """Deadline of the whole rollout."""

    @property
    def name(self) -> str:
        """Moment and fault, as the table and `--cell` have them."""
        return f"{self.moment}: {self.fault}"


_GOES_ON = Expected(frozenset({PROMOTED}))
_HOME = Expected(frozenset({ROLLED_BACK}), Loss.CANARY)
_ORPHAN = Expected(frozenset({ROLLED_BACK, FAILED}))
_ABORTED = Expected(frozenset({ROLLED_BACK}), home_seconds=3.0)
_GONE = Expected(frozenset({PROMOTED, ROLLED_BACK, FAILED}), Loss.GATEWAY, keeps_stable=False)
_ANY = frozenset({PROMOTED, ROLLED_BACK, HELD, FAILED})
_UNDER_WAY = ("start", "baseline", "hook", "mirror", "shift", "step 1", "step 2", "approval", "full")


def cells() -> list[Cell]:
    """Return all of them."""
    return [*_flow(), *_parts(), *_canary(), *_metrics(), *_disk(), *_orders()]


def _flow() -> Iterator[Cell]:
    """The rollout's own process."""
    for moment in _UNDER_WAY:
        yield Cell(moment, "flow killed", fault.kill("flow"), _ORPHAN, is_fast=moment == "step 1")
        yield Cell(moment, "flow terminated", fault.terminate("flow"), _ORPHAN)
    for moment in ("baseline", "hook", "mirror", "shift", "step 1", "approval", "full"):
        yield Cell(
            moment, "flow killed, resumed", fault.kill("flow"), _GOES_ON, policy="resume", approves=moment == "approval"
        )
    ended = replace(_ORPHAN, ends=frozenset({PROMOTED, ROLLED_BACK, FAILED}))
    yield Cell("promotion", "flow killed", fault.kill("flow"), ended)
    yield Cell("promotion", "flow killed, resumed", fault.kill("flow"), _GOES_ON, policy="resume")
    yield Cell("rollback", "flow killed", fault.kill("flow"), replace(_HOME, ends=_ORPHAN.ends))
    yield Cell("rollback", "flow killed, resumed", fault.kill("flow"), replace(_HOME, ends=_ORPHAN.ends), "resume")
    yield Cell("rollback", "flow terminated", fault.terminate("flow"), replace(_HOME, ends=_ORPHAN.ends))
    for moment in ("baseline", "step 1", "full"):
        yield Cell(moment, "flow stopped 8 s", fault.stop("flow", 8), _GOES_ON)
    yield Cell("rollback", "flow stopped 8 s", fault.stop("flow", 8), _HOME)
    yield Cell("step 1", "flow stopped 45 s", fault.stop("flow", 45), _ORPHAN)
    yield Cell("step 1", "guard killed, then the flow", fault.guard_gone_then_flow, _ORPHAN)


def _parts() -> Iterator[Cell]:
    """What runs beside it."""
    yield Cell("step 1", "guard killed", fault.kill("guard"), _GOES_ON)
    for moment in ("baseline", "step 1", "approval", "full"):
        do = fault.kill("supervisor")
        yield Cell(moment, "supervisor killed", do, _GONE, approves=moment == "approval")
    yield Cell("step 1", "supervisor stopped 8 s", fault.stop("supervisor", 8), _GOES_ON)
    gateway = replace(_GOES_ON, loss=Loss.GATEWAY, keeps_stable=False)
    # The hook ends meanwhile: pods and gateway are asked for something while they do not answer.
    yield Cell("hook", "supervisor stopped 8 s", fault.stop("supervisor", 8), _GOES_ON)
    held = replace(gateway, ends=frozenset({PROMOTED, HELD}))  # answers that hung with it are a history of their own
    yield Cell("hook", "Envoy stopped 8 s", fault.stop("envoy", 8), held)
    for moment in ("baseline", "shift", "step 1", "full"):
        yield Cell(moment, "Envoy killed", fault.kill("envoy"), gateway, is_fast=moment == "step 1")
    yield Cell("rollback", "Envoy killed", fault.kill("envoy"), replace(_GONE, ends=frozenset({ROLLED_BACK})))
    yield Cell("step 1", "Envoy stopped 5 s", fault.stop("envoy", 5), gateway)
    for moment in ("baseline", "step 1", "full"):
        yield Cell(moment, "Prometheus killed", fault.kill("prometheus"), _GOES_ON)
        yield Cell(moment, "Prometheus stopped 8 s", fault.stop("prometheus", 8), _GOES_ON)
    for moment in ("baseline", "step 1", "full"):
        yield Cell(moment, "load generator killed", fault.kill("locust"), _GOES_ON, has_load=True)
    for moment in ("baseline", "step 1"):
        yield Cell(moment, "Prometheus restarted without its past", fault.lose_past, _GOES_ON)
    yield Cell("step 1", "load generator stopped 8 s", fault.stop("locust", 8), _GOES_ON, has_load=True)
    yield Cell("step 1", "Prefect's server killed", fault.kill("Prefect's server"), _GOES_ON, with_prefect=True)


def _canary() -> Iterator[Cell]:
    """The service itself: the canary's fault always rolls back, another's never does."""
    hangs = replace(_HOME, home_seconds=40)
    for moment in ("step 1", "step 2", "approval", "full"):
        yield Cell(moment, "canary errors", fault.inject("canary", "errors=60%"), _HOME, is_fast=moment == "full")
    for moment in ("shift", "step 1", "full"):
        yield Cell(moment, "canary crashes", fault.inject("canary", "crash-loop"), _HOME)
    for text, words in (
        ("latency=30s", "canary hangs"),
        ("cut-off=60%", "canary sends half bodies"),
        ("reset=60%", "canary resets"),
        ("latency=4s", "canary is slow"),
    ):
        yield Cell("step 1", words, fault.inject("canary", text), hangs)
    yield Cell("step 1", "canary pod stopped 20 s", fault.stop("canary pod", 20), hangs)
    yield Cell("step 1", "canary pod killed once", fault.kill("canary pod"), replace(_HOME, ends=_ANY))
    # The embedded gateway does not count copies: a canary that answers them badly is seen once it has users.
    yield Cell("mirror", "canary errors", fault.inject("canary", "errors=60%"), _HOME)
    yield Cell("mirror", "canary crashes", fault.inject("canary", "crash-loop"), replace(_HOME, loss=Loss.NOTHING))
    common = Expected(frozenset({PROMOTED, HELD}), Loss.BOTH)
    for moment in ("step 1", "full"):
        yield Cell(moment, "stable errors 6 s", fault.inject("stable", "errors=30%", 6), common)
        yield Cell(moment, "both fail 6 s", fault.inject("both", "outage", 6), common)


def _metrics() -> Iterator[Cell]:
    """Prometheus' answers, spoilt on the way."""
    for mode in ("slow", "trickle", "endless", "null", "html", "500", "cut", "stale", "silent"):
        do = fault.spoil(mode, 8)
        yield Cell("step 1", f"Prometheus {mode} 8 s", do, _GOES_ON, is_hostile=True)
    for mode in ("trickle", "silent", "null"):
        do = fault.spoil(mode, 12, then=fault.abort)
        yield Cell("step 1", f"Prometheus {mode}, abort", do, _ABORTED, is_hostile=True)
        do = fault.spoil(mode, 20, then=fault.inject("canary", "crash-loop"))
        yield Cell("step 1", f"Prometheus {mode}, canary crashes", do, replace(_HOME, home_seconds=20), is_hostile=True)
    held = Expected(frozenset({HELD}))
    yield Cell("step 1", "Prometheus trickle for good", fault.spoil("trickle", 75), held, is_hostile=True)


def _disk() -> Iterator[Cell]:
    """The state folder."""
    for moment in ("baseline", "step 1", "full"):
        yield Cell(moment, "disk full 8 s", fault.fill_disk(8), _GOES_ON, on_tmpfs=True)
    yield Cell("step 1", "disk full, abort", fault.fill_disk(8, then=fault.abort), _ABORTED, on_tmpfs=True)
    yield Cell("step 1", "disk full, flow killed", fault.fill_disk(8, then=fault.kill("flow")), _ORPHAN, on_tmpfs=True)
    yield Cell("step 1", "disk read-only 8 s", fault.read_only(8), _GOES_ON, on_tmpfs=True)
    # The gateway's routes lie there: nothing can change them before the disk takes files again.
    waits = replace(_ABORTED, ends=_ORPHAN.ends, home_seconds=12.0)
    yield Cell("step 1", "disk read-only, restore", fault.read_only(8, then=fault.restore), waits, on_tmpfs=True)
    gone = Expected(_ANY | {"no end on record, on stable"}, Loss.GATEWAY, keeps_record=False, keeps_stable=False)
    for moment in ("baseline", "step 1", "full"):
        yield Cell(moment, "folder deleted", fault.delete_folder, gone)
    damaged = replace(_GOES_ON, ends=_ANY, keeps_record=False)
    yield Cell("step 1", "record damaged", fault.damage("record"), damaged)
    yield Cell("step 1", "lock damaged", fault.damage("lock"), _GOES_ON)
    yield Cell("step 1", "lock deleted", fault.delete("lock"), _GOES_ON)
    yield Cell("step 1", "position damaged", fault.damage("position"), _GOES_ON)
    lost = replace(_ORPHAN, keeps_record=False, ends=_ORPHAN.ends | {"no end on record, on stable"})
    killed = fault.kill("flow")
    yield Cell("step 1", "record damaged, flow killed", fault.damage("record", then=killed), lost, is_fast=True)
    yield Cell("step 1", "lock damaged, flow killed", fault.damage("lock", then=killed), _ORPHAN)
    yield Cell("step 1", "position damaged, flow killed", fault.damage("position", then=killed), _ORPHAN, "resume")
    yield Cell("step 1", "record deleted, flow killed", fault.delete("record", then=killed), lost)
    yield Cell(
        "step 1",
        "record damaged, abort",
        fault.damage("record", then=fault.abort),
        replace(_ABORTED, keeps_record=False, ends=lost.ends),
    )


def _orders() -> Iterator[Cell]:
    """What people do."""
    for moment in ("baseline", "hook", "mirror", "shift", "step 1", "step 2", "approval", "full"):
        yield Cell(moment, "abort", fault.abort, _ABORTED, is_fast=moment == "approval")
    yield Cell("step 1", "abort four times at once", fault.order("abort", "--reason", "x", times=4), _ABORTED)
    yield Cell("step 1", "restore", fault.restore, _ABORTED)
    yield Cell("retention", "restore", fault.restore, replace(_ABORTED, ends=frozenset({PROMOTED, ROLLED_BACK})))
    yield Cell("approval", "approved three times at once", fault.order("approve", times=3), _GOES_ON)
    yield Cell("approval", "refused", fault.order("refuse", "--reason", "x"), _ABORTED)
    for moment in ("baseline", "step 1", "full"):
        yield Cell(moment, "a second run", fault.second_run, _GOES_ON)
    # The plan's `drift: hold`, which is the default.
    strange = Expected(frozenset({HELD}), shares=(0, 20, 35, 50, 100), keeps_record=False)
    yield Cell("step 1", "somebody sets 35 %", fault.set_share(35), strange)
    yield Cell("step 1", "plan edited", fault.edit_plan, _GOES_ON)
