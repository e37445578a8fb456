"""Who is told: the receivers that the environment names, and a test notice for them. Never imports prefect."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

from report.rollout.links import grafana_link
from rollout.errors import PlanError
from rollout.notices import Notice
from rollout.ports import Notices, Undelivered
from wiring.settings import Settings

log = logging.getLogger(__name__)


class LogNotices:
    """Notices that go to the log alone."""

    def send(self, notice: Notice) -> None:
        """Log the notice."""
        log.info("%s: %s", notice.title, notice.text)

    def undelivered(self) -> tuple[Undelivered, ...]:
        """Return nothing: a log takes everything."""
        return ()


@dataclass(frozen=True, slots=True)
class ToPeople:
    """Notices that their plan has chosen, with where to look."""

    way: Notices
    report: str = ""
    """Address of a report, in which service and rollout are to be put."""
    grafana: str = ""
    """Where Grafana answers."""

    def send(self, notice: Notice) -> None:
        """Send it on, where it is wanted."""
        if notice.is_wanted:
            self.way.send(notice.with_links(self._links(notice)))

    def undelivered(self) -> tuple[Undelivered, ...]:
        """Return what did not reach people."""
        return self.way.undelivered()

    def _links(self, notice: Notice) -> dict[str, str]:
        report = self.report.replace("{service}", notice.service).replace("{rollout}", notice.rollout)
        links = {"report": report, "Grafana": grafana_link(self.grafana, notice.service)}
        return {name: link for name, link in links.items() if link}


def open_notices() -> Notices:
    """Return the notices to the receivers that the environment names.

    Raises
    ------
    PlanError
        When one of their addresses is none.
    """
    settings = Settings()
    urls = settings.notify.get_secret_value().strip()
    if not urls:
        return LogNotices()
    from backends.notifiers import notifier

    return ToPeople(notifier(urls), report=settings.report_url, grafana=settings.grafana)


def await_delivery() -> None:
    """Give the notices on their way some seconds, where the process will not end in the usual way."""
    if urls := Settings().notify.get_secret_value().strip():
        from backends.notifiers import notifier

        notifier(urls).wait()


class LazyNotices:
    """Notices of commands: opened when there is one to send; a wrong address keeps nobody from a command."""

    def send(self, notice: Notice) -> None:
        """Put the notice on its way, as far as there is one."""
        self._way.send(notice)

    def undelivered(self) -> tuple[Undelivered, ...]:
        """Return what did not reach people."""
        return self._way.undelivered()

    @cached_property
    def _way(self) -> Notices:
        try:
            return open_notices()
        except PlanError as error:
            log.warning("%s", error)
            return LogNotices()


def describe_receivers() -> str:
    """Return who gets notices, without any secret.

    Raises
    ------
    PlanError
        As `open_notices` does.
    """
    urls = Settings().notify.get_secret_value()
    if not urls.strip():
        return "nobody: CANARY_NOTIFY names no receiver, notices go to the log"
    from backends.notifiers import receivers

    return ", ".join(receiver.name for receiver in receivers(urls))
