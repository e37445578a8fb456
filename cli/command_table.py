"""The commands of `canary`: each one's module and purpose. A module is loaded once a command of its own is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Command:
    """One command, before it is loaded: a function of its name in a module of `cli.commands`."""

    module: str
    purpose: str
    """First line of its help."""


COMMANDS: Final = {
    "demo": Command("demo", "Run a whole canary rollout on this machine, and write its report."),
    "up": Command(
        "up", "Run gateway, Prometheus and the service here, until Ctrl-C; rollouts are started from other terminals."
    ),
    "plan": Command("plan", "Say before a rollout what it will be able to see at this traffic, and how soon."),
    "backtest": Command("backtest", "Say what the judge would have done in rollouts that were recorded."),
    "preflight": Command("preflight", "Check everything that a rollout needs, and touch nothing."),
    "run": Command("run", "Release the canary as the plan says, and promote it or roll it back."),
    "watch": Command(
        "watch", "Show a rollout until its end, whichever process carries it out; Ctrl-C ends the showing alone."
    ),
    "status": Command("status", "Say where the traffic goes, who steers, and how far the rollout has come."),
    "pause": Command("signals", "Go no further until `canary resume`; the judge watches on, and may roll back."),
    "resume": Command(
        "resume",
        "Go on with a rollout that was paused;"
        " or, where its owner is gone, at its step with its evidence and bake so far.",
    ),
    "skip": Command("signals", "Wait no longer for this step's bake time and evidence."),
    "promote-now": Command("signals", "Wait no longer in this and any later step; bad evidence still rolls back."),
    "approve": Command("signals", "Let the step be left, where its plan asks a person."),
    "refuse": Command("signals", "Roll back instead of approving."),
    "complain": Command(
        "signals", "Tell that users complain: so many within the plan's `criteria.complaints` roll the canary back."
    ),
    "abort": Command(
        "abort",
        "End the rollout that is under way, by way of stable; its owner does it, or this command where there is none.",
    ),
    "restore": Command(
        "abort", "Put all traffic on stable at once, whoever steers, also after a promotion; what is under way ends."
    ),
    "promote": Command(
        "promote",
        "Let stable mean the plan's canary, where a rollout has not done so already; all traffic has to be on it.",
    ),
    "report": Command("report", "Make the HTML report of a rollout again, from its record alone."),
    "drill": Command(
        "drill",
        "Prove that the rollback works: a canary that fails on purpose gets marked requests alone, and is taken back.",
    ),
    "loadtest": Command(
        "loadtest",
        "Check whether a service carries a load, and write a validation report (HTML, JSON, JUnit XML, Markdown).",
    ),
    "guard": Command(
        "guard", "Look after rollouts whose owner is gone: restore or resume them, as their plan says in when_orphaned."
    ),
    "metrics": Command(
        "metrics",
        "Serve the pipeline's own metrics to Prometheus until Ctrl-C. `canary guard --metrics-port` does so too.",
    ),
    "webhook": Command(
        "webhook",
        "Hear complaints (POST /complaints) and alerts (POST /alertmanager) for the rollout under way, until Ctrl-C.",
    ),
    "notify": Command(
        "notify", "Send a test notice to each receiver that CANARY_NOTIFY names, and say which of them took it."
    ),
}
"""In the order of `canary --help`."""
