"""From a profile to the specification of its load."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from loadtest.allowed_targets import checked_target
from loadtest.command import UserLocustfile
from loadtest.load_spec import LoadSpec, Request
from loadtest.profile import LoadProfile, Model, Think
from loadtest.schedule import Stages, scaled
from rollout.errors import PlanError


def load_spec(profile: LoadProfile, url: str, *, folder: Path, stages: Stages | None = None) -> LoadSpec:
    """Return the specification of a profile's load.

    Parameters
    ----------
    profile
        The profile; the open model needs its rate, or stages.
    url
        Where to send requests.
    folder
        Where the profile's files are.
    stages
        Another rate over time than the profile's.
    """
    target = checked_target(url, profile.allow)
    if target.query and profile.endpoints:
        raise PlanError(f"load url is {url!r}, allowed: without a query when the profile names endpoints")
    closed = profile.model is Model.CLOSED
    # A locustfile's paths are joined to the URL's own, as `locust --host` does.
    prefix = target.path.rstrip("/") if profile.locustfile else ""
    think = profile.think or Think(most=timedelta(0))
    return LoadSpec(
        host=f"{target.scheme}://{target.netloc}{prefix}",
        requests=_requests(profile, target.path, target.query, folder),
        stages=stages or profile.stages(profile.rate or 1.0),
        arrivals=profile.arrivals.value,
        users=(profile.users or 0) if closed else 0,
        think_seconds=(think.least.total_seconds(), think.most.total_seconds()),
        processes=profile.processes,
        timeout_seconds=profile.timeout.total_seconds(),
        window_seconds=profile.window_seconds,
        back_off_above=profile.back_off.above,
        back_off_seconds=profile.back_off.over.total_seconds(),
        track_header=profile.track_header,
        allow=profile.allow,
        expected=profile.expected_statuses,
        seed=profile.seed,
    )


def with_base(spec: LoadSpec, base: LoadSpec) -> LoadSpec:
    """Return the specification that sends each request to both hosts in turns; the rate is of each."""
    return spec.model_copy(
        update={"base_host": base.host, "base_requests": base.requests, "stages": scaled(spec.stages, 2)}
    )


def user_locustfile(profile: LoadProfile, folder: Path) -> UserLocustfile | None:
    """Return the profile's own locustfile, if it has one; files are looked for in the folder."""
    if profile.locustfile is None:
        return None
    path, given = folder / profile.locustfile, profile.locust.workdir
    workdir = path.parent if given is None else folder / given
    return UserLocustfile(path, workdir, profile.locust.options, profile.locust.user_classes)


def _requests(profile: LoadProfile, prefix: str, query: str, folder: Path) -> tuple[Request, ...]:
    if not profile.endpoints:
        path = (prefix or "/") + (f"?{query}" if query else "")
        return (Request(name=prefix or "/", path=path, headers=profile.headers),)
    return tuple(
        Request(
            name=endpoint.title,
            method=endpoint.method.value,
            path=prefix.rstrip("/") + endpoint.path,
            weight=endpoint.weight,
            headers=profile.headers | endpoint.headers,
            body=endpoint.content(folder),
        )
        for endpoint in profile.endpoints
    )
