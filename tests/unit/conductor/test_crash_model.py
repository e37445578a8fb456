"""A model of everything that may befall a rollout: crashes between any two calls, takeovers, orders, lost answers."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from analysis.judge import Judge
from conductor.commands import commands
from conductor.commands.commands import Begun, Desk
from conductor.commands.guard import Guard
from conductor.commands.send_signal import say
from conductor.rollout import carry_out
from rollout.errors import LockedError, PlanError, RolloutError
from rollout.events import EndState
from rollout.model import AT_REST, Weights
from rollout.plan import Approval, RolloutPlan, WhenOrphaned
from rollout.signals import SignalKind
from tests.fakes import LAPSE, FakeWorld
from tests.unit.conductor.mortals import Dead, Journeys, Life, Says, process, started
from tests.unit.conductor.processes import PLAN

BRIEF = PLAN.model_validate(
    PLAN.model_dump(mode="json")
    | {
        "baseline": {"observe": "1s"},
        "steps": [step.model_dump(mode="json") | {"bake": "1s", "deadline": "3s"} for step in PLAN.steps],
    }
)
ASKED = {AT_REST, *(Weights.with_canary(step.canary) for step in PLAN.steps)}
FOREVER = 10**9
calls = st.integers(1, 140)


class Rollouts(RuleBasedStateMachine):
    """One service. Every process is a fresh one that may die after any call; what it leaves is left to the next."""

    steps = 0
    """Of all machines together."""

    def __init__(self) -> None:
        super().__init__()
        self.world = FakeWorld()
        self.world.metrics.rps = 0.0  # the split is read from the gateway: nothing has to be counted
        self.journeys = Journeys()
        self.plan: RolloutPlan = BRIEF
        self.names = 0
        self.zombies: list[Desk] = []

    @initialize(policy=st.sampled_from(WhenOrphaned), otherwise=st.sampled_from([None, "rollback", "promote"]))
    def choose(self, policy: WhenOrphaned, otherwise: str | None) -> None:
        approval = Approval.model_validate({"within": "2s", "otherwise": otherwise}) if otherwise else None
        first = BRIEF.steps[0].model_copy(update={"approval": approval})
        self.plan = BRIEF.model_copy(update={"when_orphaned": policy, "steps": (first, *BRIEF.steps[1:])})

    def _process(self, life: Life, fails_at: int = -1) -> Desk:
        self.names += 1
        return process(self.world, self.journeys, f"process {self.names}", Says(fails_at), life)

    def _open(self) -> list[str]:
        """Return the rollouts that have begun and not ended, whether the ledger can be read now or not."""
        kinds = {name: [event.kind for event in self.world.ledger(name).events] for name in self.world.rollouts()}
        return [name for name, seen in kinds.items() if "started" in seen and "ended" not in seen]

    def _dies(self, desk: Desk, *, hangs: bool) -> None:
        """Its lock stays as it was; one that hangs keeps it until its heartbeat lapses, and may wake up later."""
        if self.world.holder.owner == desk.who:
            self.world.holder.gone = not hangs
        if hangs:
            self.zombies.append(desk)

    def _run(self, desk: Desk, name: str, *, hangs: bool) -> None:
        run = desk.open_run(self.plan, name)
        try:
            carry_out(run, started(self.world, self.plan, name, desk.who), waits_for_person=False)
        except Dead:
            self._dies(desk, hangs=hangs)
        except RolloutError:
            pass

    @rule(lasts=calls, effective=st.booleans(), fails_at=st.integers(-3, 12), hangs=st.booleans())
    def begin_another(self, lasts: int, effective: bool, fails_at: int, hangs: bool) -> None:
        if self._open():
            return
        desk = self._process(Life(lasts, effective), fails_at)
        self._run(desk, f"r{self.names}", hangs=hangs)

    @rule(lasts=calls, effective=st.booleans(), fails_at=st.integers(-3, 12), hangs=st.booleans())
    def begin_the_same_again(self, lasts: int, effective: bool, fails_at: int, hangs: bool) -> None:
        for name in self._open():
            self._run(self._process(Life(lasts, effective), fails_at), name, hangs=hangs)

    @rule(lasts=calls, effective=st.booleans(), hangs=st.booleans())
    def guard_looks(self, lasts: int, effective: bool, hangs: bool) -> None:
        desk = self._process(Life(lasts, effective))
        try:
            list(self._guard(desk).look())
        except Dead:
            self._dies(desk, hangs=hangs)
        except RolloutError:
            pass

    @rule(lasts=calls, effective=st.booleans(), order=st.sampled_from([commands.abort, commands.restore]))
    def order(self, lasts: int, effective: bool, order: object) -> None:
        desk = self._process(Life(lasts, effective))
        try:
            list(order(desk, "as the test says"))  # type: ignore[operator]
        except Dead:
            self._dies(desk, hangs=False)
        except RolloutError:
            pass

    @rule(kind=st.sampled_from(SignalKind))
    def somebody_says(self, kind: SignalKind) -> None:
        with suppress(RolloutError):
            say(self._process(Life(FOREVER)), kind, "as the test says")

    @rule(call=st.sampled_from(["append", "save_state", "load_state", "read"]), times=st.integers(1, 5))
    def ledger_is_away(self, call: str, times: int) -> None:
        for name in self._open():
            self.world.ledger(name).fail(call, times=times)

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(timedelta(seconds=seconds))

    @rule(weights=st.sampled_from([Weights(80, 20), Weights(0, 100)]))
    def one_that_hung_wakes_up(self, weights: Weights) -> None:
        """It goes on with the write that it was about to make, in the epoch that was its own."""
        for desk in self.zombies:
            router = desk.world.router
            if router.epoch is None or router.epoch == self.world.holder.epoch:  # type: ignore[attr-defined]
                continue
            before = self.world.router.weights
            with suppress(RolloutError):
                router.set_weights(weights)
            assert self.world.router.weights == before

    @rule()
    def all_settles(self) -> None:
        """Once nothing fails any more and the heartbeats have lapsed, a guard's look or two leave no rollout open."""
        for name in self.world.rollouts():
            self.world.ledger(name).mend()
        self.somebody_says(SignalKind.RESUME)  # what a person holds waits for a person
        self.world.clock.advance(LAPSE + timedelta(seconds=1))
        for _ in range(2):
            said = list(self._guard(self._process(Life(FOREVER))).look())
            assert not [line for line in said if "cannot be looked after" in line]
        assert self._open() == []
        self._agree()

    def _agree(self) -> None:
        for one in commands.begun(self.world)[-1:]:
            assert one.record.ended is not None
            promoted = one.record.ended.state is EndState.PROMOTED
            assert self.world.router.weights == (Weights(0, 100) if promoted else AT_REST)

    def _guard(self, desk: Desk) -> Guard:
        def resume(one: Begun) -> str:
            try:
                return str(commands.resume(desk, one))
            except (LockedError, PlanError) as error:
                return str(error)

        return Guard(desk, resume)

    @invariant()
    def every_step_is_counted(self) -> None:
        Rollouts.steps += 1

    @invariant()
    def weights_are_always_ones_that_were_asked_for(self) -> None:
        assert set(self.world.router.history) <= ASKED

    @invariant()
    def a_rollout_whose_traffic_went_home_never_gets_any_again(self) -> None:
        for splits in self.journeys.splits.values():
            first = next((index for index, one in enumerate(splits) if one.canary), len(splits))
            home = next((index for index in range(first, len(splits)) if splits[index] == AT_REST), len(splits))
            assert all(one == AT_REST for one in splits[home:])

    @invariant()
    def a_record_is_in_the_order_of_time_and_has_one_beginning(self) -> None:
        for name in self.world.rollouts():
            events = self.world.ledger(name).events
            assert [event.kind for event in events].count("started") <= 1
            assert all(a.at <= b.at for a, b in pairwise(events))

    def teardown(self) -> None:
        self.all_settles()


def test_no_crash_leaves_traffic_where_nobody_chose_it_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conductor.moves.observed_share", lambda counted: counted)
    monkeypatch.setattr("conductor.moves.learn_history", lambda run: None)
    blank = Judge.for_plan(BRIEF).begin()  # the evidence has tests of its own, and most of the time would go into it
    monkeypatch.setattr("conductor.state.rollout_run.dump_state", lambda state: "")
    monkeypatch.setattr("conductor.state.rollout_run.load_state", lambda text: blank)

    run_state_machine_as_test(
        Rollouts,
        settings=settings(
            max_examples=400,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert Rollouts.steps >= 10_000
