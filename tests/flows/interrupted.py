"""`canary` with a Ctrl-C at one of its own function calls: `python -m tests.flows.interrupted MOMENT ARGUMENT...`.

Calls are counted from the moment at which Ctrl-C is answered at all; moment 0 never comes, and the number of calls is
written to standard output's last line.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType
from typing import Any

from cli.main import main

CALLS = 0


def _count(_frame: FrameType, _event: str, _argument: Any) -> None:
    global CALLS
    if not CALLS and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return
    CALLS += 1
    if CALLS == MOMENT:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    MOMENT = int(sys.argv.pop(1))
    if not MOMENT:
        atexit.register(lambda: sys.stdout.write(f"\n{CALLS}\n"))
    sys.setprofile(_count)
    main()
