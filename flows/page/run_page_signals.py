"""Between Prefect's page of a run and the rollout that it carries: what is done there becomes a signal here.

Prefect's own pause blocks a flow, and its cancellation reaches only runs under a worker, as a SIGTERM. So a thread
beside the flow looks at the run's state, and the rollout goes on watching whatever that is.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType
from typing import cast
from uuid import UUID, uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.context import FlowRunContext
from prefect.input import Keyset, RunInput, keyset_from_paused_state
from prefect.states import Paused, Running
from pydantic import Field, ValidationError

from conductor.state.rollout_run import Run
from flows.page.event_subscription import OFTEN_SECONDS, RunEvents, subscribed_events
from report.rollout.markdown import approval_markdown
from rollout.errors import UnavailableError
from rollout.signals import ENDING_SIGNALS, Signal, SignalKind, may_approve
from wiring.composition import SystemClock

_LOOK_SECONDS = 0.5
"""How soon the page follows the rollout."""
_CANCELLATION_WITHIN_SECONDS = 3.0
"""How long a SIGTERM waits to be explained by a cancellation; the worker kills after 30."""
_LAST_LOOK_SECONDS = 2.0
"""How long a rollout that has ended waits for a look under way: the run's final state shall come after it."""
WHO = "somebody at Prefect's page"
log = logging.getLogger(__name__)


class Choice(StrEnum):
    """What a person may answer."""

    APPROVE = "approve"
    REFUSE = "refuse"


class Answer(RunInput):
    """The form that Prefect shows while a rollout waits for approval."""

    # Has no default: what was not filled in is no answer, and a run that was set to Running in another way is none.
    choice: Choice = Field(description="approve: it goes on; refuse: all traffic goes to stable.")
    note: str = Field(default="", description="Why, for the record.", max_length=500)


@contextmanager
def followed_page(run: Run) -> Iterator[RunPage | None]:
    """Look at this flow run's state while the body runs; nothing where it is no flow run."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        yield None
        return
    page = RunPage(run, context.flow_run.id)
    _ignore_suspension(context)
    with subscribed_events(context.flow_run.id) as events:
        looking = threading.Thread(target=_look_until_closed, args=(page, events), name="run-page", daemon=True)
        looking.start()
        try:
            with _explained_sigterm(page, events):
                yield page
        finally:
            page.closed.set()
            looking.join(_LAST_LOOK_SECONDS)


def _ignore_suspension(context: FlowRunContext) -> None:
    """Keep *Suspend* from ending this process at its next task: a rollout that is held has to be watched on."""
    context.flow_run_suspension_request.mark_requested = lambda _: None  # type: ignore[method-assign, assignment]


def _look_until_closed(page: RunPage, events: RunEvents) -> None:
    with get_client(sync_client=True) as client:
        while not page.closed.is_set():
            if events.is_look_due(within=_LOOK_SECONDS) or page.is_due:
                try:
                    page.look(client)
                except Exception as error:  # whatever it is, a later look must still see a cancellation
                    log.info("no look at the flow run: %s", error)
                    page.closed.wait(OFTEN_SECONDS)
                    events.note()


@contextmanager
def _explained_sigterm(page: RunPage, events: RunEvents) -> Iterator[None]:
    """Let a SIGTERM that comes of a cancellation be no interruption: the signal has been sent, the rollback goes on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def explain(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        events.note()
        if not page.cancelled.wait(_CANCELLATION_WITHIN_SECONDS):
            signal.signal(number, before)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, explain)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Shown(StrEnum):
    """How the run stands on its page, as far as a person can change it there."""

    RUNNING = "running"
    PAUSED = "paused"
    ASKING = "paused, with the form that asks for approval"


class RunPage:
    """One flow run and the rollout that it carries: what was shown, and what that has to become."""

    def __init__(self, run: Run, flow_run: UUID) -> None:
        self._run = run
        self._flow_run = flow_run
        self._shown = Shown.RUNNING
        self._sent: Signal | None = None
        """What a person did on the page, as it was sent; what comes of it is shown once it was received."""
        self._is_sure = True
        """Whether the page is known to show that: not while a state of ours may or may not have arrived."""
        self._is_over = False
        """Whether Prefect believes the run to have ended."""
        self._form: Keyset = {}
        """Where the answer to our question will be found."""
        self._form_step = ""
        """The step that it is about."""
        self.cancelled = threading.Event()
        self.closed = threading.Event()
        """Set once the rollout has ended: from then on nothing is shown."""

    @property
    def is_due(self) -> bool:
        """Whether the page has to show something else than it does."""
        if self.cancelled.is_set() or self._is_over:
            return False
        return self._is_received if self._sent else not self._is_sure or self._wanted is not self._shown

    def look(self, client: SyncPrefectClient) -> None:
        """Look once at the flow run's state, send what a person did there as a signal, and show how the rollout stands.

        What fails changes nothing here: the next look does it again.
        """
        state = client.read_flow_run(self._flow_run).state
        if state is None:
            return
        self._is_over = state.is_final()
        if state.is_cancelling() or state.is_cancelled():
            self._cancel()
        elif state.is_scheduled():  # resumed from *Suspend* before that was taken up: no second process shall begin
            self._set(client, Running())
        elif state.is_paused() or state.is_running():
            self._compare(client, state)

    def _cancel(self) -> None:
        if not self.cancelled.is_set():
            self._send(SignalKind.ABORT, "the run was cancelled")
            self.cancelled.set()

    def _compare(self, client: SyncPrefectClient, state: State[None]) -> None:
        wanted, is_paused = self._wanted, state.is_paused()
        was_paused = self._sent.kind is SignalKind.PAUSE if self._sent else self._shown is not Shown.RUNNING
        if self._is_sure and is_paused != was_paused:
            self._sent = self._send(SignalKind.PAUSE, "") if is_paused else self._resumed()
        elif self._is_received and (self._sent or not self._is_sure or wanted is not self._shown):
            self._is_sure = False
            self._show(client, wanted, state)
            self._is_sure, self._sent = True, None

    def _resumed(self) -> Signal | None:
        if self._sent or self._shown is Shown.PAUSED:
            return self._send(SignalKind.RESUME, "")
        try:
            answer = cast("Answer", Answer.load(self._form, flow_run_id=self._flow_run))
        except ValidationError:  # there is none: it is asked for again
            self._shown = Shown.RUNNING
            return None
        if answer.choice is Choice.APPROVE and not may_approve(WHO, self._approvers):
            log.warning("approved at the page, which does not say by whom: %s", self._who_may)
            self._shown = Shown.RUNNING
            return None
        return self._send(SignalKind(answer.choice), answer.note, step=self._form_step)

    @property
    def _approvers(self) -> tuple[str, ...]:
        approval = self._run.step.approval if self._run.step else None
        return approval.by if approval else ()

    @property
    def _who_may(self) -> str:
        """Who may approve, where that is not everybody: Prefect knows nobody by name."""
        return f"{' or '.join(self._approvers)} may approve this step, with `canary approve`" if self._approvers else ""

    @property
    def _is_received(self) -> bool:
        return self._sent is None or self._sent in self._run.said

    @property
    def _wanted(self) -> Shown:
        run = self._run
        if run.leaving or any(sent.kind in ENDING_SIGNALS for sent in run.said):
            return Shown.RUNNING
        if run.words.paused:
            return Shown.PAUSED
        return Shown.ASKING if run.asked_since is not None and not run.words.approved else Shown.RUNNING

    def _show(self, client: SyncPrefectClient, wanted: Shown, state: State[None]) -> None:
        """Set the state by Prefect's own rules: with them none of ours takes the place of a cancellation under way."""
        if not (wanted is Shown.PAUSED and _is_lasting(state)):
            if state.is_paused():
                self._set(client, Running())
            if wanted is Shown.PAUSED:
                self._set(client, Paused())
            elif wanted is Shown.ASKING:
                self._set(client, self._question())
        self._shown = wanted

    def _question(self) -> State[None]:
        """Keep the form that the page is to show, and return the state that shows it."""
        run = self._run
        since, approval = run.asked_since, run.step.approval if run.step else None
        question = approval_markdown(run.ports.ledger.read(), since + approval.within) if since and approval else ""
        if not question:
            raise UnavailableError("what the approval rests on is not on record yet")
        paused: State[None] = Paused(pause_key=f"approval-{uuid4()}", message="waits for approval")
        self._form, self._form_step = keyset_from_paused_state(paused), self._step
        paused.state_details.run_input_keyset = {str(part): key for part, key in self._form.items()}
        described = "\n\n".join(filter(None, (question, self._who_may)))
        Answer.with_initial_data(description=described).save(self._form, flow_run_id=self._flow_run)
        return paused

    def _set(self, client: SyncPrefectClient, state: State[None]) -> None:
        if self.closed.is_set():
            raise UnavailableError("the rollout has ended")
        answer = client.set_flow_run_state(self._flow_run, state)
        if answer.status is not SetStateStatus.ACCEPT:
            raise UnavailableError(f"the page does not become {state.name}: {answer.details}")

    @property
    def _step(self) -> str:
        return self._run.step.name if self._run.step else ""

    def _send(self, kind: SignalKind, reason: str, *, step: str = "") -> Signal:
        run = self._run
        sent = Signal(kind, reason, WHO, run.ports.clock.now(), step=step or self._step)
        run.ports.signals.send(sent)
        if isinstance(run.ports.clock, SystemClock):  # sent in this very process: it need not be listened for
            run.ports.clock.wake()
        return sent


def _is_lasting(state: State[None]) -> bool:
    """Whether a pause has no time at which Prefect fails the run, begins no second process, and asks nothing."""
    details = state.state_details
    return state.is_paused() and not (details.pause_timeout or details.pause_reschedule or details.run_input_keyset)
