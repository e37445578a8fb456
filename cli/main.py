"""The entry point of `canary`. It loads next to nothing before Ctrl-C is answered."""

from __future__ import annotations

import os
import signal
from types import FrameType

_INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run the command line: Ctrl-C and an error of ours are a line or two, never a traceback."""
    signal.signal(signal.SIGINT, _end_at_once)
    from cli.command_line import run

    run()


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    """End the process without unwinding: an exception may come while a module is imported, and be lost there.

    What has something to clean up runs in `interruptible`, which raises one.
    """
    os.write(2, b"canary: interrupted\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
