"""A small steady client of a gRPC service, for tests that watch what users see."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from urllib.parse import urlsplit

import grpc

from sample.faults import GRPC_PATH


class SteadyCalls:
    """Calls at a constant rate while the `with` block lasts; `answers` counts (status, track)."""

    def __init__(self, url: str, *, rps: float = 200) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self._target, self._interval = urlsplit(url).netloc, 1 / rps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_all)

    def __enter__(self) -> SteadyCalls:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def failed(self) -> int:
        """Answers that were not OK."""
        return sum(count for (status, _), count in self.answers.items() if status != "OK")

    def _send_all(self) -> None:
        with grpc.insecure_channel(self._target) as channel:
            get = channel.unary_unary(GRPC_PATH)
            calls, due = [], time.monotonic()
            while not self._stop.is_set():
                calls.append(get.future(b"", timeout=20))
                due += self._interval
                time.sleep(max(0.0, due - time.monotonic()))
            for call in calls:
                track = dict(call.initial_metadata()).get("x-canary-track", "")
                self.answers[call.code().name, track] += 1
