"""What runs inside the Locust process where the service speaks gRPC: the same clock, with unary calls for requests."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import grpc
from grpc.experimental.gevent import init_gevent

from loadtest.load_spec import SYNTHETIC_HEADER
from loadtest.worker import locustfile as http

init_gevent()


class GrpcUser(http.OpenModelUser):
    """The only user of a process: a clock that makes a call at every due time."""

    def on_start(self) -> None:
        """Open the one channel, on which all calls share a connection; the process closes it, after the last answer."""
        super().on_start()
        channel = grpc.insecure_channel(urlsplit(self.host).netloc)
        self.calls = [channel.unary_unary(request.path) for request in http.SPEC.requests]

    def send(self, number: int, due: float) -> None:
        """Make one call, and count what became of it."""
        http.recorder.record_sent(due)
        request, error = http.SPEC.requests[number], ""
        metadata = [(SYNTHETIC_HEADER, "locust"), *((name.lower(), value) for name, value in request.headers.items())]
        try:
            _, call = self.calls[number].with_call(
                (request.body or "").encode(), timeout=http.SPEC.timeout_seconds, metadata=metadata
            )
        except grpc.RpcError as failure:
            call, error = failure, f"gRPC {failure.code().name}"
        track = dict(call.initial_metadata() or ()).get(http.SPEC.track_header)
        http.recorder.record_answer(request.name, track, time.perf_counter() - due, error)
