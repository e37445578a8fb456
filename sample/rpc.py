"""The same service over gRPC: the unary `canary.Sample/Get`, with JSON for its messages."""

from __future__ import annotations

import json

import grpc

from sample.app import Receive, SampleApp, Scope, Send
from sample.behaviour import Behaviour
from sample.faults import GRPC_PATH, GRPC_STATUSES, Failure

SERVICE, METHOD = GRPC_PATH.strip("/").split("/")
GRACE_SECONDS = 20.0
_STATUSES = {status.value[0]: status for status in grpc.StatusCode}


class RpcApp:
    """The ASGI app with a gRPC server beside it, which begins and ends with it.

    Parameters
    ----------
    behaviour
        How both answer.
    address
        Where the gRPC server listens.
    """

    def __init__(self, behaviour: Behaviour, address: str) -> None:
        self._behaviour, self._address = behaviour, address
        self._app = SampleApp(behaviour)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, or serve gRPC for as long as the process lives."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        server = self._server()
        await server.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await server.stop(GRACE_SECONDS)
        await send({"type": "lifespan.shutdown.complete"})

    def _server(self) -> grpc.aio.Server:
        handler = grpc.unary_unary_rpc_method_handler(self._get)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])
        server.add_insecure_port(self._address)
        return server

    async def _get(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # noqa: ARG002 - all are the same
        # Sent first: the status of a failure then comes in trailers, as it does after a handler's work.
        await context.send_initial_metadata(self._behaviour.identity.headers)
        failed = await self._behaviour.wait()
        if failed is not None:
            code = failed.code if failed.failure is Failure.GRPC else GRPC_STATUSES["internal"]
            await context.abort(_STATUSES[code], "injected")
        identity = self._behaviour.identity
        return json.dumps({"service": identity.service, "by": identity.pod}).encode()
