"""The dead-man's switch on fakes: whatever the world is like when an owner is gone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conductor.commands.commands import Begun
from conductor.commands.flow_runs import Lost
from conductor.commands.guard import KEPT_ROLLOUTS, Guard
from conductor.ownership import steering
from rollout.errors import DamagedError, LockedError, PlanError, UnavailableError
from rollout.events import (
    Alarm,
    Ended,
    EndState,
    Scaled,
    Started,
    TakenOver,
)
from rollout.model import AT_REST, Occasion, Track, Weights
from rollout.plan import WhenOrphaned
from tests.fakes import LAPSE, FakeWorld
from tests.unit.conductor.processes import PLAN, Process


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


class Watch:
    """A guard, and whom it told to resume."""

    def __init__(self, world: FakeWorld) -> None:
        self.resumed: list[str] = []
        self.guard = Guard(Process(world, "guard").desk, self._resume)

    def _resume(self, one: Begun) -> str:
        self.resumed.append(one.name)
        return f"{one.name}: resumed"

    def look(self) -> list[str]:
        return list(self.guard.look())


def test_an_orphan_is_restored_and_the_record_and_a_notice_say_so(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("increase")

    Watch(world).look()

    record = world.ledger("r1").read()
    (taken,) = record.of(TakenOver)
    assert (taken.who, taken.policy) == ("guard", WhenOrphaned.RESTORE)
    assert taken.found == "the canary has 50 % of the traffic, 50 % had been asked for"
    assert record.ended is not None
    assert record.ended.state is EndState.ROLLED_BACK
    assert world.router.weights == AT_REST
    assert world.workloads.wanted[Track.CANARY] == 0
    assert world.holder.owner == ""
    assert [notice.title for notice in world.notices.sent if notice.occasion is not Occasion.ALARM][-2:] == [
        "canary-app v2: taken over",
        "canary-app v2: rolled back",
    ]


def test_an_orphan_is_restored_without_prometheus(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("full")
    world.metrics.fail("read", times=-1)

    Watch(world).look()

    record = world.ledger("r1").read()
    assert world.router.weights == AT_REST
    assert record.ended is not None
    assert any("its requests could not be counted since" in e.what for e in record.of(Alarm))


def test_a_damaged_record_of_another_rollout_keeps_no_orphan_waiting(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")
    world.ledger("r0").fail("read", PlanError("line 3: no event"), times=-1)

    Watch(world).look()

    assert world.router.weights == AT_REST
    assert world.ledger("r1").read().ended is not None


def test_an_orphan_whose_plan_says_so_is_resumed(world: FakeWorld) -> None:
    plan = PLAN.model_copy(update={"when_orphaned": WhenOrphaned.RESUME})
    Process(world, "ada", plan).dies_in("introduce")
    watch = Watch(world)

    said = watch.look()

    assert (said, watch.resumed) == (["r1: resumed"], ["r1"])
    assert world.router.weights == Weights(80, 20)


def damage(world: FakeWorld, name: str) -> None:
    """Let a record have lost its beginning, as far as anybody can read it."""
    world.ledger(name).fail("read", DamagedError("events.jsonl: Is a directory"), times=-1)
    world.ledger(name).fail("read_events", DamagedError("events.jsonl: Is a directory"), times=-1)


def test_traffic_of_an_orphan_whose_record_cannot_be_read_is_put_on_stable_and_people_are_told(
    world: FakeWorld,
) -> None:
    Process(world, "ada").dies_in("increase")
    damage(world, "r1")

    said = Watch(world).look()

    assert world.router.weights == AT_REST
    assert said[0] == "r1: left alone: events.jsonl: Is a directory"
    assert said[-1] == "the canary had 50 % of the traffic, which nobody steers and no record explains"
    assert "no record explains" in world.notices.sent[-1].text
    assert world.holder.owner == ""


def test_traffic_that_no_record_tells_of_is_left_to_an_owner_that_lives(world: FakeWorld) -> None:
    world.lock("ada").acquire()
    world.router.set_weights(Weights(80, 20))

    assert Watch(world).look() == []
    assert world.router.weights == Weights(80, 20)


def test_a_promoted_split_is_nobodys_to_take_home(world: FakeWorld) -> None:
    Process(world, "ada").carry_out()
    damage(world, "r0")

    Watch(world).look()

    assert world.router.weights == Weights(0, 100)


def test_stable_gets_pods_before_it_gets_traffic_that_no_record_explains(world: FakeWorld) -> None:
    world.router.set_weights(Weights(0, 100))
    world.workloads.scale(Track.STABLE, 0)
    world.workloads.scale(Track.CANARY, 2)
    world.workloads.ready_after = timedelta(seconds=3)

    said = Watch(world).look()

    assert said[0] == "stable has no ready pod: asked for 2"
    assert (world.router.weights, world.workloads.ready(Track.STABLE)) == (AT_REST, 2)


def test_damage_is_named_once(world: FakeWorld) -> None:
    damage(world, "old")
    watch = Watch(world)

    assert [len(watch.look()), len(watch.look())] == [1, 0]
    assert watch.guard.deeds == 0


def test_an_orphan_with_a_damaged_line_is_not_gone_on_with_but_put_on_stable(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    Process(world, "ada", PLAN.model_copy(update={"when_orphaned": WhenOrphaned.RESUME})).dies_in("introduce")
    _with_damage(world, "r1", monkeypatch)
    watch = Watch(world)

    watch.look()

    ended = world.ledger("r1").events[-1]
    assert (watch.resumed, world.router.weights) == ([], AT_REST)
    assert isinstance(ended, Ended)
    assert ended.reason == "its owner was gone, and its record is damaged: events.jsonl line 3: cannot be read"


def test_an_old_record_that_is_damaged_gets_no_end_that_it_may_have_had(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    Process(world, "ada").dies_in("introduce")
    Process(world, "bob").carry_out("r2")
    _with_damage(world, "r1", monkeypatch)
    events = list(world.ledger("r1").events)

    said = Watch(world).look()

    assert said == ["r1: left alone: events.jsonl line 3: cannot be read"]
    assert (world.ledger("r1").events, world.router.weights) == (events, Weights(0, 100))


def _with_damage(world: FakeWorld, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = world.ledger(name)
    read = ledger.read
    told = {"damage": ("events.jsonl line 3: cannot be read",)}
    monkeypatch.setattr(ledger, "read", lambda **_: read().model_copy(update=told))


class Prefect:
    """A scheduler that knows what was done to its runs."""

    def __init__(self, *cancelled: str, error: Exception | None = None) -> None:
        self.cancelled, self.error = cancelled, error

    def settle(self, lost: tuple[Lost, ...]) -> tuple[str, ...]:
        return ()

    def is_cancelled(self, flow_run: str) -> bool:
        if self.error:
            raise self.error
        return flow_run in self.cancelled


@pytest.mark.parametrize(
    ("prefect", "resumed"),
    [(Prefect("run-1"), []), (Prefect("run-2"), ["r1"]), (Prefect(error=UnavailableError("gone")), ["r1"])],
)
def test_an_orphan_whose_run_was_cancelled_is_not_resumed_but_ended(
    world: FakeWorld, prefect: Prefect, resumed: list[str]
) -> None:
    ada = Process(world, "ada", PLAN.model_copy(update={"when_orphaned": WhenOrphaned.RESUME}))
    ada.flow_run = "run-1"
    ada.dies_in("introduce")
    watch = Watch(world)
    watch.guard.carriers = prefect

    watch.look()

    assert watch.resumed == resumed
    assert world.router.weights == (Weights(80, 20) if resumed else AT_REST)
    ended = world.ledger("r1").read().ended
    assert resumed or (ended is not None and ended.reason == "its run was cancelled")


def test_a_rollout_whose_owner_hangs_is_left_alone_until_its_heartbeat_lapses(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")
    world.holder.gone, world.holder.renewed = False, world.clock.time
    watch = Watch(world)

    early = watch.look()
    world.clock.advance(LAPSE + timedelta(seconds=1))
    late = watch.look()

    assert early == []
    assert late[0].startswith("r1: rolled back: its owner was gone (ada")
    assert world.router.weights == AT_REST


def test_an_owner_that_was_taken_over_and_wakes_up_moves_no_traffic(world: FakeWorld) -> None:
    ada = Process(world, "ada")
    run = ada.run()
    with pytest.raises(LockedError, match="steered by bob"), steering(run, ada.started()):  # noqa: PT012
        run.ports.router.set_weights(Weights(80, 20))
        world.clock.advance(LAPSE + timedelta(seconds=1))
        bob = Process(world, "bob").run("r2")
        bob.ports.lock.acquire()
        bob.ports.router.set_weights(AT_REST)
        run.ports.router.set_weights(Weights(50, 50))

    assert world.router.history == [AT_REST, Weights(80, 20), AT_REST]


def test_a_rollout_that_another_one_began_after_is_only_closed(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")
    Process(world, "bob").carry_out("r2")

    said = Watch(world).look()

    assert said == ["r1: failed: its owner ended without a word, and r2 began after it"]
    assert world.router.weights == Weights(0, 100)


def test_the_old_version_is_scaled_to_zero_once_its_retention_is_over(world: FakeWorld) -> None:
    Process(world, "ada").carry_out()
    watch = Watch(world)

    early = watch.look()
    world.clock.advance(PLAN.retention)
    late, later = watch.look(), watch.look()

    assert (early, later) == ([], [])
    assert late == ["r1: v1 was kept for its retention, and has no pods any more"]
    assert world.workloads.wanted[Track.STABLE] == 0
    assert isinstance(world.ledger("r1").events[-1], Scaled)


def test_a_version_that_serves_again_is_never_scaled_to_zero_and_the_record_says_so(world: FakeWorld) -> None:
    Process(world, "ada").carry_out()
    world.router.seize(AT_REST)
    world.clock.advance(PLAN.retention)

    said = Watch(world).look()

    assert said == ["r1: rolled back: its traffic was found on stable, after it had ended as promoted"]
    assert world.workloads.ready(Track.STABLE) == 3


def test_what_cannot_be_restored_now_is_tried_again_at_the_next_look(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")
    watch = Watch(world)
    watch.guard.desk.world.router.fail("set_weights", times=-1)

    first = watch.look()
    watch.guard.desk.world.router.mend()
    second = watch.look()

    assert "cannot be looked after now" in first[0]
    assert second[0].startswith("r1: rolled back")
    assert world.router.weights == AT_REST


def test_deeds_are_counted_and_not_what_was_tried_in_vain(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")
    watch = Watch(world)
    watch.guard.desk.world.router.fail("set_weights", times=-1)

    watch.look()
    in_vain = watch.guard.deeds
    watch.guard.desk.world.router.mend()
    watch.look()
    watch.look()

    assert (in_vain, watch.guard.deeds) == (0, 1)


def test_the_records_of_old_rollouts_are_removed_and_the_latest_kept(world: FakeWorld) -> None:
    started = Started(at=world.clock.time, rollout="old", plan=PLAN, who="ada", backend="fake")
    for number in range(KEPT_ROLLOUTS + 2):
        ledger = world.ledger(f"old-{number}")
        ledger.append(started)
        ledger.append(Ended(at=world.clock.time, state=EndState.ROLLED_BACK, reason="worse"))
    watch = Watch(world)

    early = watch.look()
    world.clock.advance(3 * PLAN.retention)
    told = [line for _ in range(4) for line in watch.look()]

    assert early == []
    assert [line.split(":")[0] for line in told] == ["old-0", "old-1"]
    assert len(world.rollouts()) == KEPT_ROLLOUTS
