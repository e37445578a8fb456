"""Between Prefect's page of a run and the rollout that it carries: what is done there is said here as a word.

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
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.input import Keyset, RunInput, keyset_from_paused_state
from prefect.states import Paused, Running
from pydantic import Field

from conductor.run import Run
from flows.page.doorbell import OFTEN_SECONDS, Doorbell, doorbell
from flows.wiring import SystemClock
from report.markdown import approval_markdown
from rollout.words import Signal, SignalKind

_ASK_SECONDS = 0.5
"""How soon what the rollout wants of people is noticed."""
_TO_LEARN_SECONDS = 3.0
"""How long a SIGTERM waits to be explained by a cancellation; the worker kills after 30."""
WHO = "somebody at Prefect's page"
log = logging.getLogger(__name__)


class Choice(StrEnum):
    """What a person may answer."""

    APPROVE = "approve"
    REFUSE = "refuse"


class Answer(RunInput):
    """The form that Prefect shows while a rollout waits for approval."""

    choice: Choice = Field(
        default=Choice.APPROVE, description="approve: it goes on; refuse: all traffic goes to stable."
    )
    note: str = Field(default="", description="Why, for the record.", max_length=500)


@contextmanager
def bridged(run: Run) -> Iterator[Bridge | None]:
    """Look at this flow run's state while the body runs; nothing where it is no flow run."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        yield None
        return
    bridge, done = Bridge(run, context.flow_run.id), threading.Event()
    with doorbell(context.flow_run.id) as bell:
        threading.Thread(target=_look_until, args=(bridge, bell, done), name="bridge", daemon=True).start()
        try:
            with _explained(bridge, bell):
                yield bridge
        finally:
            done.set()  # not waited for: where Prefect's server is gone, a look of it may last a minute


def _look_until(bridge: Bridge, bell: Doorbell, done: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not done.is_set():
            if bell.calls(within=_ASK_SECONDS) or bridge.has_to_ask:
                try:
                    bridge.look(client)
                except Exception as error:  # whatever it is, a later look must still hear a cancellation
                    log.info("no look at the flow run: %s", error)
                    done.wait(OFTEN_SECONDS)
                    bell.ring()


@contextmanager
def _explained(bridge: Bridge, bell: Doorbell) -> Iterator[None]:
    """Let a SIGTERM that comes of a cancellation be no interruption: the word has been said, the rollback goes on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def explain(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        bell.ring()
        if not bridge.cancelled.wait(_TO_LEARN_SECONDS):
            signal.signal(number, before)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, explain)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Bridge:
    """One flow run and the rollout that it carries."""

    def __init__(self, run: Run, flow_run: UUID) -> None:
        self._run = run
        self._flow_run = flow_run
        self._form: Keyset | None = None
        """Where the answer to our own question will be found."""
        self._is_paused = False
        self.cancelled = threading.Event()

    @property
    def has_to_ask(self) -> bool:
        """Whether the page shows no question where there is one, or one that has been answered elsewhere."""
        is_settled = self._is_paused or self.cancelled.is_set()
        return not is_settled and self._waits_for_approval() != bool(self._form)

    def look(self, client: SyncPrefectClient) -> None:
        """Look once at the flow run's state, and say what it means."""
        state = client.read_flow_run(self._flow_run).state
        if state is None:
            return
        if state.is_cancelling() or state.is_cancelled():
            self._cancel()
        elif state.is_paused():
            self._while_paused(client)
        elif state.is_running():
            self._while_running(client)

    def _cancel(self) -> None:
        if not self.cancelled.is_set():
            self._say(SignalKind.ABORT, "the run was cancelled")
            self.cancelled.set()

    def _while_paused(self, client: SyncPrefectClient) -> None:
        if self._form and not self._waits_for_approval():  # it was answered elsewhere
            self._form = None
            client.set_flow_run_state(self._flow_run, Running(), force=True)
        elif not self._form and not self._is_paused:
            self._is_paused = True
            self._say(SignalKind.PAUSE, "")
            client.set_flow_run_state(self._flow_run, Paused(), force=True)  # without a time at which Prefect fails it

    def _while_running(self, client: SyncPrefectClient) -> None:
        if self._form:
            form, self._form = self._form, None  # where no answer can be read, it is asked for again
            answer = cast("Answer", Answer.load(form, flow_run_id=self._flow_run))
            self._say(SignalKind(answer.choice), answer.note)
        elif self._is_paused:
            self._is_paused = False
            self._say(SignalKind.RESUME, "")
        elif self._waits_for_approval():
            self._ask(client)

    def _waits_for_approval(self) -> bool:
        return self._run.asked_since is not None and not self._run.words.approved and not self._run.leaving

    def _ask(self, client: SyncPrefectClient) -> None:
        asked = approval_markdown(self._run.ports.ledger.read())
        if not asked:  # not on record yet
            return
        paused: State[None] = Paused(pause_key=f"approval-{self._run.step_index}", message="waits for approval")
        form = keyset_from_paused_state(paused)
        paused.state_details.run_input_keyset = {str(part): key for part, key in form.items()}
        Answer.with_initial_data(description=asked).save(form, flow_run_id=self._flow_run)
        client.set_flow_run_state(self._flow_run, paused)
        self._form = form

    def _say(self, kind: SignalKind, reason: str) -> None:
        run = self._run
        step = run.step.name if run.step else ""
        run.ports.signals.say(Signal(kind, reason, WHO, run.ports.clock.now(), step=step))
        if isinstance(run.ports.clock, SystemClock):  # said in this very process: it need not be listened for
            run.ports.clock.wake()
