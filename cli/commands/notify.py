"""`canary notify`: a test notice to each receiver."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from rollout.errors import PlanError
from rollout.model import Occasion
from rollout.notices import Notice
from wiring.settings import Settings
from wiring.terminal import Terminal


def notify(
    service: Annotated[str, typer.Option(help="Which service the test notice names.")] = "canary-app",
) -> None:
    """Send a test notice to each receiver that CANARY_NOTIFY names, and say which of them took it.

    Exit codes: 0 all of them did, 1 not all, 2 there is none, or an address is wrong.
    """
    urls = Settings().notify.get_secret_value()
    if not urls.strip():
        raise PlanError("CANARY_NOTIFY: is empty, allowed: addresses of apprise, separated by spaces")
    from backends.notifiers import receivers

    console, now = Terminal(), datetime.now(UTC)
    notice = Notice(Occasion.ALARM, now, service, "test", "none", "a test: nothing has happened", figures={})
    taken = {receiver.name: receiver.deliver(notice) for receiver in receivers(urls)}
    for name, was_taken in taken.items():
        result = "took the test notice" if was_taken else "did not take it: look at its address, and whether it answers"
        console.print(f"receiver {name}: {result}", soft_wrap=True)
    raise typer.Exit(0 if all(taken.values()) else 1)
