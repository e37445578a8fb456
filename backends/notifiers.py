"""Notices to Slack, Teams, mail or any web hook, by apprise: a thread a receiver, and nobody waits for one."""

from __future__ import annotations

import atexit
import logging
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from queue import Full, Queue
from typing import Any, Final

import apprise
from apprise.plugins.custom_json import NotifyJSON
from apprise.plugins.email.base import NotifyEmail

from rollout.errors import PlanError
from rollout.model import Occasion
from rollout.notices import Notice
from rollout.ports import Undelivered

log = logging.getLogger(__name__)

MOST_WAITING: Final = 100
"""Notices that wait for one receiver; what comes on top of that is left out, and an alarm says so."""
FLUSH_TIMEOUT: Final = timedelta(seconds=5)
"""How long a process that ends waits for what is still on its way."""
_CALL_SECONDS: Final = 4.0
"""To connect, and to wait for an answer: a mail server's 15 s would keep the notices behind it waiting."""
_SLOWEST_SECONDS: Final = 1.0
"""Apprise leaves up to 5.5 s between two messages of one receiver; a rollout has few, and its last one matters."""
_RETRY_SECONDS: Final = 1.0
"""After which a notice is offered once more, to a receiver that had taken the one before."""
_KINDS: Final = {
    Occasion.PROMOTED: apprise.NotifyType.SUCCESS,
    Occasion.APPROVAL_ASKED: apprise.NotifyType.WARNING,
    Occasion.HELD: apprise.NotifyType.WARNING,
    Occasion.ALARM: apprise.NotifyType.WARNING,
    Occasion.TAKEN_OVER: apprise.NotifyType.WARNING,
    Occasion.ROLLED_BACK: apprise.NotifyType.FAILURE,
    Occasion.FAILED: apprise.NotifyType.FAILURE,
}


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somewhere that notices go, under a name that gives no secret away."""

    name: str
    plugin: Any

    def deliver(self, notice: Notice) -> bool:
        """Deliver a notice, and return whether the receiver took it."""
        if isinstance(self.plugin, NotifyJSON):
            self.plugin.payload_extras = {**self.plugin.payload_extras, **notice.as_json()}
        # Through its collection, which alone turns plain text into what a receiver shows, such as HTML in a mail.
        collection = apprise.Apprise(self.plugin)
        kind = _KINDS.get(notice.occasion, apprise.NotifyType.INFO)
        text = apprise.NotifyFormat.TEXT
        return bool(collection.notify(notice.body, notice.title, notify_type=kind, body_format=text))


def receivers(urls: str) -> tuple[Receiver, ...]:
    """Return the receivers that addresses name, separated by white space.

    Raises
    ------
    PlanError
        Saying which one is none, without its secrets.
    """
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it quotes addresses
    return tuple(_receiver(number, url) for number, url in enumerate(urls.split(), 1))


def _receiver(number: int, url: str) -> Receiver:
    plugin = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if plugin is None:
        scheme = re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE)
        raise PlanError(
            f"CANARY_NOTIFY: got {scheme[0] + '...' if scheme else 'no scheme'} as address {number}, "
            "allowed: addresses of apprise, separated by spaces, such as slack://TOKEN/TOKEN/TOKEN/#channel, "
            "workflows://..., mailtos://USER:PASSWORD@HOST?to=ADDRESS or jsons://HOST/PATH"
        )
    plugin.socket_connect_timeout = plugin.socket_read_timeout = _CALL_SECONDS
    plugin.request_rate_per_sec = min(plugin.request_rate_per_sec, _SLOWEST_SECONDS)
    # Other receivers have a token where these have a host.
    has_host = isinstance(plugin, NotifyJSON | NotifyEmail)
    where = f" at {plugin.host}{f':{plugin.port}' if plugin.port else ''}" if has_host else ""
    return Receiver(f"{number} ({plugin.service_name}{where})", plugin)


class Notifier:
    """Notices on their way to every receiver."""

    def __init__(self, to: Sequence[Receiver]) -> None:
        self._outboxes = tuple(_Outbox(receiver) for receiver in to)

    def send(self, notice: Notice) -> None:
        """Put the notice on its way."""
        log.info("%s: %s", notice.title, notice.text)
        for outbox in self._outboxes:
            outbox.put(notice)

    def undelivered(self) -> tuple[Undelivered, ...]:
        """Return which receivers have missed something."""
        return tuple(Undelivered(outbox.receiver.name, outbox.trouble) for outbox in self._outboxes if outbox.trouble)

    def wait(self, patience: timedelta = FLUSH_TIMEOUT) -> bool:
        """Return whether everything has been handed over, once that is so or the time is up."""
        until = time.monotonic() + patience.total_seconds()
        return all(outbox.wait(until) for outbox in self._outboxes)


@dataclass(slots=True)
class _Outbox:
    """What waits for one receiver, and the thread that hands it over."""

    receiver: Receiver
    trouble: str = ""
    _is_reached: bool = True
    """Whether it took the last notice; the first one is offered as if it had."""
    _waiting: Queue[Notice] = field(default_factory=lambda: Queue(MOST_WAITING))
    _start_lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def put(self, notice: Notice) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"notices {self.receiver.name}", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(notice)
        except Full:
            self.trouble = f"notices are left out: receiver {self.receiver.name} does not keep up"

    def wait(self, until: float) -> bool:
        with self._waiting.all_tasks_done:
            return self._waiting.all_tasks_done.wait_for(
                lambda: not self._waiting.unfinished_tasks, max(until - time.monotonic(), 0)
            )

    def _work(self) -> None:
        while True:
            notice = self._waiting.get()
            self._is_reached = self._deliver(notice) or (self._is_reached and self._retry(notice))
            if not self._is_reached:
                self.trouble = f"notices do not reach receiver {self.receiver.name}"
                log.warning("%s: %s", self.trouble, notice.title)
            self._waiting.task_done()

    def _retry(self, notice: Notice) -> bool:
        time.sleep(_RETRY_SECONDS)
        return self._deliver(notice)

    def _deliver(self, notice: Notice) -> bool:
        try:
            return self.receiver.deliver(notice)
        except Exception as error:  # whatever a receiver's plugin raises, the next notice may get through
            log.info("receiver %s: %s", self.receiver.name, type(error).__name__)
            return False


@cache
def notifier(urls: str) -> Notifier:
    """Return this process's notifier of these addresses; at the end of the process its queues get some seconds.

    Raises
    ------
    PlanError
        As `receivers` does.
    """
    process_notifier = Notifier(receivers(urls))
    atexit.register(process_notifier.wait)
    return process_notifier
