"""What is done on a run's page reaches the rollout, and how it stands is shown there: on a real Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Paused, Running

from conductor.state.rollout_run import Run
from flows.page.run_page_signals import WHO, RunPage
from flows.server.prefect_server import PrefectServer
from rollout.errors import UnavailableError
from rollout.events import VerdictChanged
from rollout.plan import RolloutPlan
from rollout.signals import Signal, SignalKind
from rollout.verdict_entries import FindingEntry, VerdictEntry
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import PLAN, Process


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    with PrefectServer(tmp_path_factory.mktemp("server")) as server:
        server.wait_ready()
        with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}), get_client(sync_client=True) as found:
            yield found


@flow
def nothing() -> None:
    return


@dataclass
class Carried:
    """A rollout at its first step, the flow run that carries it, and the page between them."""

    client: SyncPrefectClient
    world: FakeWorld
    run: Run
    flow_run: UUID
    page: RunPage

    @property
    def state(self) -> State[None]:
        found = self.client.read_flow_run(self.flow_run).state
        assert found is not None
        return found

    def looks(self) -> None:
        """Look as the page's thread does, until nothing is due any more."""
        self.page.look(self.client)
        for _ in range(3):
            self.hears()
            if self.page.is_due:
                self.page.look(self.client)
        assert not self.page.is_due

    def hears(self) -> None:
        self.run.hear(self.world.signals("r1").read(), self.world.clock.time)

    def person(self, state: State[None]) -> None:
        """Do what a button on the page does."""
        self.client.set_flow_run_state(self.flow_run, state)

    def says(self, kind: SignalKind) -> None:
        """Send a signal elsewhere than on the page."""
        step = self.run.step.name if self.run.step else ""
        self.world.signals("r1").send(Signal(kind, "", "ada", self.world.clock.time, step=step))
        self.hears()

    def asks_approval(self) -> None:
        self.run.ask_approval(self.world.clock.time)

    @property
    def said(self) -> list[SignalKind]:
        return [one.kind for one in self.world.signals("r1").read() if one.who == WHO]


@pytest.fixture
def carried(client: SyncPrefectClient) -> Carried:
    world = FakeWorld()
    step = PLAN.steps[0].model_dump(mode="json") | {"approval": "required"}
    plan = PLAN.model_validate(
        PLAN.model_dump(mode="json") | {"steps": [step, *PLAN.model_dump(mode="json")["steps"][1:]]}
    )
    process = Process(world, "ada", plan)
    run, now = process.run(), world.clock.time
    run.note(process.started())
    run.step_index, run.step_since = 0, now
    finding = FindingEntry(criterion="errors", basis="absolute", outcome="pass", reason="few", answers="health")
    verdict = VerdictEntry(
        outcome="pass",
        reason="fine",
        findings=(finding,),
        rollback_evidence=0,
        rollback_needed=4.6,
        promotion_evidence=3,
        promotion_needed=3,
    )
    run.note(VerdictChanged(at=now, step="introduce", verdict=verdict))
    flow_run = client.create_flow_run(nothing, state=Running()).id
    return Carried(client, world, run, flow_run, RunPage(run, flow_run))


def test_a_pause_on_the_page_holds_the_rollout_and_has_no_time_at_which_prefect_fails_the_run(carried: Carried) -> None:
    carried.person(Paused(timeout_seconds=300))

    carried.looks()

    assert carried.run.words.paused == f"paused by {WHO}"
    assert carried.state.is_paused()
    assert carried.state.state_details.pause_timeout is None
    assert carried.said == [SignalKind.PAUSE]


def test_a_pause_that_lasts_by_itself_is_left_as_it_is(carried: Carried) -> None:
    carried.person(Paused())
    before = carried.state.id

    carried.looks()

    assert carried.state.id == before
    assert carried.said == [SignalKind.PAUSE]


def test_a_pause_of_the_page_is_ended_on_the_page(carried: Carried) -> None:
    carried.person(Paused(timeout_seconds=300))
    carried.looks()

    carried.client.resume_flow_run(carried.flow_run)
    carried.looks()

    assert carried.said == [SignalKind.PAUSE, SignalKind.RESUME]
    assert carried.run.words.paused == ""
    assert carried.state.is_running()


def test_a_pause_of_the_page_that_is_ended_elsewhere_leaves_the_page_running_and_able_to_ask(carried: Carried) -> None:
    carried.person(Paused(timeout_seconds=300))
    carried.looks()

    carried.says(SignalKind.RESUME)
    carried.looks()

    assert carried.state.is_running()
    carried.asks_approval()
    carried.looks()
    assert carried.state.message == "waits for approval"


def test_a_pause_said_elsewhere_is_shown_and_can_be_ended_on_the_page(carried: Carried) -> None:
    carried.says(SignalKind.PAUSE)
    carried.looks()
    assert carried.state.is_paused()

    carried.client.resume_flow_run(carried.flow_run)
    carried.looks()

    assert carried.said == [SignalKind.RESUME]
    assert carried.state.is_running()


def test_a_pause_while_approval_is_waited_for_is_shown_and_the_question_comes_back_after_it(carried: Carried) -> None:
    carried.asks_approval()
    carried.looks()

    carried.says(SignalKind.PAUSE)
    carried.looks()
    assert carried.state.message != "waits for approval"
    carried.says(SignalKind.RESUME)
    carried.looks()

    assert carried.state.message == "waits for approval"
    assert carried.said == []


@pytest.mark.parametrize("choice", ["approve", "refuse"])
def test_an_answer_is_said_once_and_not_asked_for_again(carried: Carried, choice: str) -> None:
    carried.asks_approval()
    carried.looks()

    carried.client.resume_flow_run(carried.flow_run, run_input={"choice": choice, "note": "looks so"})
    carried.looks()

    assert [(one.kind, one.reason) for one in carried.run.said] == [(choice, "looks so")]
    assert carried.state.is_running()


def test_an_approval_at_the_page_is_none_where_the_plan_names_who_may_give_it(carried: Carried) -> None:
    plan = carried.run.plan.model_dump(mode="json")
    plan["steps"][0]["approval"] = {"by": ["ada", "bob"]}
    carried.run.plan = RolloutPlan.model_validate(plan)
    carried.asks_approval()
    carried.looks()

    carried.client.resume_flow_run(carried.flow_run, run_input={"choice": "approve", "note": ""})
    carried.looks()

    assert carried.said == []
    assert carried.state.message == "waits for approval"  # asked for again
    carried.says(SignalKind.APPROVE)  # by ada
    assert carried.run.words.approved == "approved by ada"


def test_an_answer_given_elsewhere_takes_the_question_away(carried: Carried) -> None:
    carried.asks_approval()
    carried.looks()

    carried.says(SignalKind.APPROVE)
    carried.looks()

    assert carried.state.is_running()
    assert carried.said == []


def test_a_run_that_is_set_to_running_without_an_answer_has_not_been_approved(carried: Carried) -> None:
    carried.asks_approval()
    carried.looks()

    carried.person(Running())
    carried.looks()

    assert carried.said == []
    assert carried.state.message == "waits for approval"


def test_what_a_person_does_is_not_lost_when_it_cannot_be_said_at_first(carried: Carried) -> None:
    carried.person(Paused(timeout_seconds=300))
    carried.run.ports.signals.fail("say", UnavailableError("no answer"))  # type: ignore[attr-defined]

    with pytest.raises(UnavailableError):
        carried.page.look(carried.client)
    carried.looks()

    assert carried.said == [SignalKind.PAUSE]
    assert carried.run.words.paused


def test_a_second_click_before_the_first_was_heard_counts(carried: Carried) -> None:
    carried.person(Paused(timeout_seconds=300))
    carried.page.look(carried.client)

    carried.client.resume_flow_run(carried.flow_run)
    carried.looks()

    assert carried.said == [SignalKind.PAUSE, SignalKind.RESUME]
    assert carried.run.words.paused == ""
    assert carried.state.is_running()


def test_a_state_whose_arrival_is_unknown_is_no_persons_doing(carried: Carried) -> None:
    carried.says(SignalKind.PAUSE)
    setting = carried.client.set_flow_run_state

    def lost(*words: object, **more: object) -> None:
        setting(*words, **more)  # type: ignore[arg-type]
        raise ConnectionError("its answer was lost")

    carried.client.set_flow_run_state = lost  # type: ignore[method-assign, assignment]
    try:
        with pytest.raises(ConnectionError):
            carried.page.look(carried.client)
    finally:
        carried.client.set_flow_run_state = setting  # type: ignore[method-assign]
    carried.looks()

    assert carried.said == []
    assert carried.state.is_paused()


def test_an_answer_that_comes_late_does_not_count_for_the_next_step(carried: Carried) -> None:
    carried.asks_approval()
    carried.looks()
    carried.run.step_index, carried.run.asked_since = 1, None

    carried.client.resume_flow_run(carried.flow_run, run_input={"choice": "approve", "note": ""})
    carried.looks()

    assert [(one.kind, one.step) for one in carried.run.said] == [("approve", "introduce")]
    assert carried.run.words.approved == ""


def test_a_rollout_that_has_ended_shows_nothing_more(carried: Carried) -> None:
    carried.says(SignalKind.PAUSE)
    carried.page.closed.set()

    with pytest.raises(UnavailableError, match="the rollout has ended"):
        carried.page.look(carried.client)

    assert carried.state.is_running()


def test_what_is_shown_never_takes_the_place_of_a_cancellation(carried: Carried) -> None:
    carried.says(SignalKind.PAUSE)
    seen = carried.state
    carried.person(Cancelling())
    read = carried.client.read_flow_run
    carried.client.read_flow_run = lambda _: carried_run(seen)  # type: ignore[method-assign, assignment]
    try:
        with pytest.raises(UnavailableError, match="the page does not become Paused"):
            carried.page.look(carried.client)
    finally:
        carried.client.read_flow_run = read  # type: ignore[method-assign]
    carried.looks()

    assert carried.said == [SignalKind.ABORT]
    assert carried.page.cancelled.is_set()
    assert carried.state.is_cancelling()


def carried_run(state: State[None]) -> object:
    """What was read of a flow run a moment before somebody cancelled it."""
    return type("Read", (), {"state": state})()


def test_a_rollout_that_goes_home_is_shown_as_running(carried: Carried) -> None:
    carried.says(SignalKind.PAUSE)
    carried.looks()

    carried.run.leave("errors")
    carried.looks()

    assert carried.state.is_running()
