"""Why a Locust process ended, in one sentence, from its log and its exit code. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')
_EXCEPTION = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?$")
_PREFIX = re.compile(r"^\[[^\]]*\] \S+?/(?P<level>[A-Z]+)/[\w.]+: ")
"""What Locust writes before a message: time, host, level, logger."""
_USAGE = re.compile(r"^\S+: error: (?P<text>.*)$")
_LOADING = "load_locustfile"
_LISTENER = "Uncaught exception in event handler"
_NO_USER_CLASS = "the locustfile defines no user to run: no class of HttpUser, FastHttpUser or User"
_SENTENCES = (
    ("No User class found", _NO_USER_CLASS),
    ("load_locustfile_pytest", _NO_USER_CLASS),  # the last thing that Locust looks for
    ("There are no users with weight > 0", "every user class of the locustfile has the weight 0"),
    ("Gave up waiting for workers", "its workers did not start in time"),
)
_LOCUST_SENTENCES = ("Unknown User(s):", "Could not find", "Duplicate user class names:", "Duplicate shape classes:")
"""Messages of Locust that are sentences already."""


def describe_exit(log: Sequence[str], exit_code: int | None) -> str:
    """Return why Locust ended.

    Parameters
    ----------
    log
        The lines that its processes wrote.
    exit_code
        Of the process that led; below 0 for a signal, None while it runs.

    >>> describe_exit([], -9)
    'it was ended by SIGKILL'
    """
    if exit_code is not None and exit_code < 0:
        return f"it was ended by {_signal_name(-exit_code)}"
    lines = [_PREFIX.sub("", line) for line in log]
    return _from_messages(lines) or _from_traceback(lines) or _from_code(lines, exit_code)


def _signal_name(number: int) -> str:
    if number == signal.SIGINT:
        return "SIGINT, as by Ctrl-C or a `KeyboardInterrupt` of the locustfile"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _from_messages(lines: Sequence[str]) -> str:
    for line in lines:
        if plain := next((sentence for start, sentence in _SENTENCES if start in line), ""):
            return plain
        if line.startswith(_LOCUST_SENTENCES):
            return line.strip()
        if usage := _USAGE.match(line):
            return f"Locust refused its options: {usage['text']}"
    return ""


def _from_traceback(lines: Sequence[str]) -> str:
    starts = [number for number, line in enumerate(lines) if line.startswith(_TRACEBACK)]
    if not starts:
        return ""
    trace = lines[starts[-1] + 1 :]
    end = next((n for n, line in enumerate(trace) if line and not line[0].isspace()), None)
    raised = _EXCEPTION.match(trace[end]) if end is not None else None
    if end is None or raised is None:
        return ""
    frames = [place for line in trace[:end] if (place := _FRAME.match(line))]
    where = _location(frames)
    kind, text = raised["kind"].rpartition(".")[2], raised["text"] or ""
    if _LISTENER in "".join(lines[max(starts[-1] - 1, 0) : starts[-1]]):
        return f"an event listener of the locustfile raised {_joined(kind, text)}{where}"
    if not any(_LOADING in line for line in trace[:end]):
        return f"it raised {_joined(kind, text)}{where}"
    return _describe_load_error(kind, text, where)


def _describe_load_error(kind: str, text: str, where: str) -> str:
    match kind:
        case "SyntaxError" | "IndentationError" | "TabError":
            return f"the locustfile is not Python: {text}{where}"
        case "ModuleNotFoundError" | "ImportError":
            return (
                f"the locustfile cannot import what it needs: {text}{where}; "
                "allowed: modules beside it, and what is installed where `canary` runs"
            )
    return f"the locustfile raised {_joined(kind, text)} while it was loaded{where}"


def _joined(kind: str, text: str) -> str:
    return f"{kind}: {text}" if text else kind


def _location(frames: Sequence[re.Match[str]]) -> str:
    own = [frame for frame in frames if "site-packages" not in frame["file"] and "<frozen" not in frame["file"]]
    last = (own or frames)[-1] if frames else None
    return f" ({last['file'].rpartition('/')[2]}, line {last['line']})" if last else ""


def _from_code(lines: Sequence[str], exit_code: int | None) -> str:
    if exit_code:
        return (
            f"it ended by itself with exit code {exit_code}: the locustfile set `environment.process_exit_code` or "
            "called `sys.exit`"
        )
    if exit_code == 0:
        return "it ended by itself: its users or its shape had come to their end, or the locustfile called `quit()`"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
