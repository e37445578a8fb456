"""`canary webhook`: complaints and Alertmanager's alerts, received over HTTP and sent to the rollout under way."""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import typer
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from backends.cluster.cluster_target import Taker
from cli.options import PlanOption, takes_target
from conductor.commands.commands import Desk
from conductor.commands.send_signal import say
from rollout.criteria import Part
from rollout.document import mistakes
from rollout.errors import PlanError, RolloutError, SetupError
from rollout.signals import SignalKind
from wiring.command_contexts import command_context
from wiring.same_origin import is_loopback, same_origin_only
from wiring.settings import Settings
from wiring.target import Target
from wiring.terminal import print_line

if TYPE_CHECKING:
    import uvicorn

Form = TypeVar("Form", bound=BaseModel)
Endpoint = Callable[..., Awaitable[Response]]
LARGEST_BODY_BYTES: Final = 256 * 1024
"""A hundred alerts of Alertmanager take a third of it."""
BODY_SECONDS: Final = 10.0
"""How long a body may take to arrive."""
_LONGEST_REASON: Final = 2000
_CLOSES: Final = {"Connection": "close"}
"""With a body that is not read to its end, the connection is of no further use."""


class Complaint(Part):
    """Users complain."""

    note: str = Field(default="", max_length=_LONGEST_REASON)
    count: int = Field(default=1, ge=1, le=1_000_000)
    who: str = Field(default="webhook", min_length=1, max_length=200)


class Alert(BaseModel):
    """One alert, as Alertmanager sends it; what else it sends is not needed."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @property
    def reason(self) -> str:
        """Its name and summary."""
        name = self.labels.get("alertname", "without a name")
        summary = self.annotations.get("summary") or self.annotations.get("description")
        return (f"alert {name}: {summary}" if summary else f"alert {name}")[:_LONGEST_REASON]


class Alerts(BaseModel):
    """What Alertmanager sends to a webhook receiver, version 4 of its format."""

    alerts: list[Alert]


@takes_target(Taker.SIGNAL)
def webhook(
    target: Target,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0: a free port.")] = 9106,
    host: Annotated[str, typer.Option(help="Beyond loopback only with CANARY_WEBHOOK_TOKEN set.")] = "127.0.0.1",
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Hear complaints (POST /complaints) and alerts (POST /alertmanager) for the rollout under way, until Ctrl-C.

    A firing alert that Alertmanager routes here aborts the rollout; complaints add up as the plan says.
    """
    settings = Settings()
    token = settings.webhook_token.get_secret_value()
    if not token and not is_loopback(host):
        raise PlanError(f"--host: got {host!r}, allowed: 127.0.0.1, or another one with CANARY_WEBHOOK_TOKEN set")
    receiver = application(
        lambda service: command_context(target.at_service(service or target.service), plan),
        token=token,
        hosts=[*settings.webhook_hosts, host],
    )
    import uvicorn  # slow to load, and no other command waits for it

    from cli.server_limits import limits

    config = uvicorn.Config(receiver, host=host, port=port, log_level="warning", access_log=False, **limits())
    listening = _listening(config)
    at = f"http://{host}:{listening.getsockname()[1]}"
    print_line(f"hears POST {at}/complaints and {at}/alertmanager   Ctrl-C ends it")
    uvicorn.Server(config).run([listening])


def _listening(config: uvicorn.Config) -> socket.socket:
    try:
        return socket.create_server((config.host, config.port), family=_family(config.host))
    except OSError as error:
        raise SetupError(f"port {config.port}: cannot be listened on at {config.host}: {error.strerror}") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def application(
    open_context: Callable[[str], Desk],
    *,
    token: str = "",
    hosts: Sequence[str] = (),
    body_seconds: float = BODY_SECONDS,
) -> ASGIApp:
    """Return the application that receives.

    The context of a command is opened anew for each signal, as the world may have changed.
    On a cluster `?service=NAME` says which service is meant; default: the plan's.
    Answers: 200 sent, or nothing to send it to; 400 with what is wrong, or a `Host` by which this server is not known;
    401 without the token; 403 sent by another site's page; 408 too slow; 413 too large; 415 not JSON; 503 try again.

    Parameters
    ----------
    open_context
        Gives the context of commands to a service.
    token
        What senders have to know; nothing if empty.
    hosts
        Names of this server beside those of the loopback.
    body_seconds
        How long a body may take to arrive.
    """

    def receiving(
        form: type[Form], carry_out: Callable[[Desk, Form], Iterator[str]]
    ) -> Callable[..., Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if not _knows(request, token):
                return _refusal("allowed: with the header Authorization: Bearer TOKEN", 401)
            if (kind := _media_type(request)) != "application/json":
                return _refusal(f"Content-Type: got {kind!r}, allowed: application/json", 415)
            try:
                async with asyncio.timeout(body_seconds):
                    body = await request.body()
            except TimeoutError:
                return _refusal(f"body: not complete after {body_seconds:g} s", 408)
            service = request.query_params.get("service", "")
            return await run_in_threadpool(_answer, body, form, lambda: open_context(service), carry_out)

        return endpoint

    async def health(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        return JSONResponse({"hears": True})

    routes = Starlette(
        routes=[
            Route("/health", health),
            Route("/complaints", receiving(Complaint, complaint), methods=["POST"]),
            Route("/alertmanager", receiving(Alerts, abort_on), methods=["POST"]),
        ]
    )
    from cli.server_limits import limited  # uvicorn comes with it

    return limited(same_origin_only(routes, hosts), body_bytes=LARGEST_BODY_BYTES)


def _refusal(error: str, status: int) -> Response:
    return JSONResponse({"error": error}, status, headers=_CLOSES)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def complaint(desk: Desk, received: Complaint) -> Iterator[str]:
    """Send a complaint, and yield what comes of it."""
    yield say(replace(desk, who=received.who), SignalKind.COMPLAINT, received.note, count=received.count)


def abort_on(desk: Desk, received: Alerts) -> Iterator[str]:
    """Send an abort for the first alert that fires, and yield what comes of it."""
    firing = [alert for alert in received.alerts if alert.status == "firing"]
    for alert in firing[:1]:
        yield say(replace(desk, who="Alertmanager"), SignalKind.ABORT, alert.reason)


def _answer(
    body: bytes,
    form: type[Form],
    open_context: Callable[[], Desk],
    carry_out: Callable[[Desk, Form], Iterator[str]],
) -> Response:
    try:
        received, desk = form.model_validate_json(body), open_context()
    except ValidationError as error:
        return JSONResponse({"error": mistakes(error, source="body", schema="docs/operations.md", whole=form)}, 400)
    except PlanError as error:
        return JSONResponse({"error": str(error)}, 400)
    except RolloutError as error:
        return JSONResponse({"error": str(error)}, 503)
    try:
        return JSONResponse({"said": list(carry_out(desk, received))})
    except PlanError as error:  # no rollout is under way: the sender has done all that it could
        return JSONResponse({"said": [], "because": str(error)})
    except RolloutError as error:
        return JSONResponse({"error": str(error)}, 503)


def _knows(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Starlette reads headers as Latin-1, whatever they hold: these are the bytes that were sent.
    is_right = hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
    return not token or (scheme.lower() == "bearer" and is_right)
