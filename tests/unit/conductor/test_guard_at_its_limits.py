"""The guard where a time is just over, or just not, and where its world fails it in the middle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rollout.errors import DamagedError, UnavailableError
from rollout.events import Ended, EndState, Started
from rollout.model import AT_REST, Track, Weights
from rollout.plan import WhenOrphaned
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import PLAN, Process
from tests.unit.conductor.test_guard import Prefect, Watch, _with_damage

SECOND = timedelta(seconds=1)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


def ended_rollouts(world: FakeWorld, number: int) -> None:
    for place in range(number):
        ledger = world.ledger(f"old-{place:02}")
        ledger.append(Started(at=world.clock.time, rollout=f"old-{place:02}", plan=PLAN, who="ada", backend="fake"))
        ledger.append(Ended(at=world.clock.time, state=EndState.ROLLED_BACK, reason="worse"))


def test_the_twenty_latest_records_are_kept_however_old_they_are(world: FakeWorld) -> None:
    ended_rollouts(world, 21)
    world.clock.advance(100 * PLAN.retention)
    watch = Watch(world)

    said = [line for _ in range(5) for line in watch.look()]

    assert [line.split(":")[0] for line in said] == ["old-00"]
    assert len(world.rollouts()) == 20


def test_an_old_record_is_kept_for_twice_the_retention_of_its_plan(world: FakeWorld) -> None:
    ended_rollouts(world, 21)
    watch = Watch(world)

    world.clock.advance(2 * PLAN.retention)
    early = watch.look()
    world.clock.advance(SECOND)
    late = watch.look()

    assert (early, [line.split(":")[0] for line in late]) == ([], ["old-00"])


def test_a_record_that_is_old_and_has_no_end_is_not_removed(world: FakeWorld) -> None:
    world.ledger("old").append(Started(at=world.clock.time, rollout="old", plan=PLAN, who="ada", backend="fake"))
    world.ledger("old").fail("append", UnavailableError("full"), times=-1)
    ended_rollouts(world, 20)
    world.clock.advance(100 * PLAN.retention)

    Watch(world).look()

    assert "old" in world.rollouts()


def test_the_old_version_keeps_its_pods_until_the_last_moment_of_its_retention(world: FakeWorld) -> None:
    ended = Process(world, "ada").carry_out()
    watch = Watch(world)

    world.clock.advance(ended.at + PLAN.retention - SECOND - world.clock.time)
    watch.look()
    early = world.workloads.ready(Track.STABLE)
    world.clock.advance(SECOND)
    watch.look()

    assert (early, world.workloads.ready(Track.STABLE)) == (3, 0)


def test_an_old_version_that_a_later_rollout_brings_back_keeps_its_pods(world: FakeWorld) -> None:
    """The old version was v1; somebody has rolled it out again since, and it serves as what was the canary."""
    Process(world, "ada").carry_out()
    back = PLAN.model_copy(
        update={
            "stable": PLAN.stable.model_copy(update={"version": "v2"}),
            "canary": PLAN.canary.model_copy(update={"version": "v1"}),
            "retention": 10 * PLAN.retention,
        }
    )
    world.ledger("r2").append(Started(at=world.clock.time, rollout="r2", plan=back, who="bob", backend="fake"))
    world.ledger("r2").append(Ended(at=world.clock.time, state=EndState.PROMOTED, reason="better"))
    world.clock.advance(2 * PLAN.retention)

    assert Watch(world).look() == []
    assert world.workloads.ready(Track.STABLE) == 3


def test_traffic_that_no_record_explains_is_given_back_once_and_the_lock_with_it(world: FakeWorld) -> None:
    world.router.set_weights(Weights(80, 20))
    watch = Watch(world)

    first, second = watch.look(), watch.look()

    assert first == [
        "all traffic is on stable",
        "the canary had 20 % of the traffic, which nobody steers and no record explains",
    ]
    assert (second, world.router.weights, world.holder.owner) == ([], AT_REST, "")
    assert watch.guard.deeds == 2
    assert "traffic is on stable" in world.notices.sent[-1].text


def test_a_look_tries_for_half_a_minute_and_gives_the_lock_back(world: FakeWorld) -> None:
    world.router.set_weights(Weights(80, 20))
    watch = Watch(world)
    watch.guard.desk.world.router.fail("seize", UnavailableError("down"), times=-1)
    began = world.clock.time

    said = watch.look()

    assert said[-1].startswith("traffic that no record tells of cannot be put on stable now: ")
    assert (world.router.weights, world.holder.owner) == (Weights(80, 20), "")
    assert world.clock.time - began == timedelta(seconds=30)


def test_a_split_that_cannot_be_read_is_looked_at_again(world: FakeWorld) -> None:
    world.router.set_weights(Weights(80, 20))
    watch = Watch(world)
    watch.guard.desk.world.router.fail("read_weights", UnavailableError("down"), times=1)

    first, second = watch.look(), watch.look()

    assert first == []
    assert second != []
    assert world.router.weights == AT_REST


class Books(Prefect):
    """A scheduler that notes which runs it was told the truth of; the first times it is down."""

    def __init__(self, *, down: int = 0) -> None:
        super().__init__()
        self.down, self.told = down, list[str]()

    def settle(self, lost: tuple[object, ...]) -> tuple[str, ...]:
        if self.down:
            self.down -= 1
            raise UnavailableError("down")
        self.told += [getattr(run, "flow_run", "") for run in lost]
        return tuple(f"{run}: ended" for run in self.told)


def test_the_scheduler_is_told_once_of_a_run_that_is_lost_and_again_only_where_it_was_down(world: FakeWorld) -> None:
    ada = Process(world, "ada")
    ada.flow_run = "run-1"
    ada.dies_in("introduce")
    watch, books = Watch(world), Books(down=1)
    watch.guard.carriers = books
    for _ in range(4):
        world.clock.advance(timedelta(minutes=5))
        watch.look()

    assert books.told == ["run-1"]


def test_a_guard_without_a_scheduler_tells_none(world: FakeWorld) -> None:
    ada = Process(world, "ada")
    ada.flow_run = "run-1"
    ada.dies_in("introduce")
    watch = Watch(world)
    for _ in range(3):
        world.clock.advance(timedelta(minutes=5))
        watch.look()

    assert watch.guard.deeds == 1


def test_a_rollout_that_somebody_else_is_about_to_resume_is_no_news(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")
    watch = Watch(world)
    watch.guard.desk.world.lock("guard").acquire()

    assert watch.look() == []
    assert world.router.weights == Weights(80, 20)
    assert watch.guard.deeds == 0


def test_a_record_that_cannot_be_read_is_not_removed_and_keeps_no_other_look_from_going_on(world: FakeWorld) -> None:
    ended_rollouts(world, 21)
    world.ledger("old-00").fail("read", DamagedError("a folder"), times=-1)
    world.clock.advance(100 * PLAN.retention)

    said = Watch(world).look()

    assert len(world.rollouts()) == 21
    assert [line for line in said if "removed" in line] == []


def test_one_look_removes_one_record(world: FakeWorld) -> None:
    ended_rollouts(world, 25)
    world.clock.advance(100 * PLAN.retention)

    Watch(world).look()

    assert len(world.rollouts()) == 24


def test_an_orphan_that_no_scheduler_carried_is_resumed_though_the_scheduler_cancelled_others(world: FakeWorld) -> None:
    Process(world, "ada", PLAN.model_copy(update={"when_orphaned": WhenOrphaned.RESUME})).dies_in("introduce")
    watch = Watch(world)
    watch.guard.carriers = Prefect("", "run-1")

    watch.look()

    assert watch.resumed == ["r1"]


@pytest.mark.parametrize("carriers", [None, Books()])
def test_a_rollout_that_has_ended_and_is_known_is_not_read_again(world: FakeWorld, carriers: Books | None) -> None:
    """A guard runs for months: what it reads at a look must not grow with what is long past."""
    ended_rollouts(world, 3)
    watch = Watch(world)
    watch.guard.carriers = carriers
    watch.look()
    watch.look()
    reads = world.ledger("old-00").calls["read"]

    watch.look()

    assert world.ledger("old-00").calls["read"] == reads


def test_stable_has_its_pods_before_the_traffic_of_a_damaged_record_comes_back(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines that are damaged may be those that tell of its end, and of stable scaled to zero since."""
    Process(world, "ada").dies_in("full")
    _with_damage(world, "r1", monkeypatch)
    world.workloads.scale(Track.STABLE, 0)
    watch = Watch(world)
    home = list[tuple[Weights, int]]()
    for router in (world.router, watch.guard.desk.world.router):
        for name in ("set_weights", "seize"):
            monkeypatch.setattr(router, name, _noted(getattr(router, name), world, home))

    watch.look()

    assert world.router.weights == AT_REST
    assert next(ready for weights, ready in home if weights == AT_REST) == PLAN.stable.replicas


def _noted(write: Callable[..., object], world: FakeWorld, home: list[tuple[Weights, int]]) -> Callable[..., object]:
    def noted(weights: Weights, *more: object, **named: object) -> object:
        home.append((weights, world.workloads.ready(Track.STABLE)))
        return write(weights, *more, **named)

    return noted
