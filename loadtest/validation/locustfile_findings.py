"""What a user's own locustfile showed beside its requests: tasks that raised, hosts refused, its own verdict."""

from __future__ import annotations

from collections.abc import Iterator

from loadtest.tally import Tally
from rollout.model import Basis, Outcome
from rollout.verdict_entries import FindingEntry


def locustfile_findings(tally: Tally, exit_code: int | None) -> Iterator[FindingEntry]:
    """Yield a finding on the tasks, and one each on refused hosts and on an exit code where there are any."""
    yield _raised(tally)
    if tally.refused:
        yield _refused(tally)
    if exit_code:
        yield _exit_code(exit_code)


def _raised(tally: Tally) -> FindingEntry:
    total = sum(tally.raised.values())
    if not total:
        return _finding("raised tasks", Outcome.PASS, "no task of the locustfile raised", 0)
    kinds = sorted(tally.raised.items(), key=lambda item: -item[1])
    most = f"{kinds[0][0]}, {kinds[0][1]:,} times" if len(kinds) > 1 or total > 1 else kinds[0][0]
    rest = "" if len(kinds) == 1 else f", and {len(kinds) - 1} more {'kind' if len(kinds) == 2 else 'kinds'}"
    tasks = "1 task of the locustfile" if total == 1 else f"{total:,} tasks of the locustfile"
    return _finding("raised tasks", Outcome.FAIL, f"{tasks} raised: {most}{rest}", total)


def _refused(tally: Tally) -> FindingEntry:
    total = sum(tally.refused.values())
    hosts = ", ".join(f"{host} ({count:,})" for host, count in sorted(tally.refused.items()))
    reason = f"{total:,} requests were not sent, to hosts that are neither loopback nor under `allow`: {hosts}"
    return _finding("refused hosts", Outcome.FAIL, reason, total)


def _exit_code(exit_code: int) -> FindingEntry:
    reason = f"the locustfile ended Locust with exit code {exit_code} (`environment.process_exit_code` or `sys.exit`)"
    return _finding("exit code", Outcome.FAIL, reason, exit_code)


def _finding(criterion: str, outcome: Outcome, reason: str, estimate: int) -> FindingEntry:
    return FindingEntry(
        criterion=criterion, basis=Basis.ABSOLUTE, outcome=outcome, reason=reason, estimate=estimate, limit=0
    )
