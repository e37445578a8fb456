"""Whole rollouts through the cluster backend: the real conductor and judge, an emulated API server, scripted traffic.

The traffic follows the weights that stand in the VirtualService; its time is the fake clock's, so that a rollout of
two minutes takes seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from backends.cluster import promotion
from backends.cluster.api.client import CONFIG_MAPS, DEPLOYMENTS, EVENTS, PODS, SECRETS, VIRTUAL_SERVICES, Api
from backends.cluster.environment import World, attach
from backends.cluster.ledger import bounded
from backends.cluster.preflight.permissions import PERMISSIONS
from backends.cluster.promotion import selected_version
from backends.route_splits import find_split
from conductor.commands.commands import Desk, restore
from rollout.errors import LockedError
from rollout.events import (
    Alarm,
    ComparisonRestarted,
    DriftDetected,
    Ended,
    EndState,
    Scaled,
    StableChanged,
    StepStarted,
    VerdictChanged,
    WeightsSet,
)
from rollout.model import AT_REST, Basis, Outcome, Track, Weights
from rollout.plan import Mirror, WhenDrifted
from rollout.ports import Signal, SignalKind
from rollout.record import dump_event, parse_events
from rollout.verdict_entries import FindingEntry, VerdictEntry
from tests.emulated.patches import APPLY
from tests.emulated.rollouts import PLAN, Rollout
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import documents
from tests.fakes import FakeNotices
from wiring.composition import Target

PLAN_SCRAPE_SECONDS = 5.0
SPLITS = [100, 80, 50, 0, 100]
"""Stable's weight in a whole promotion; at its end `stable` means the new version."""


class Traffic:
    """The split that stands on the emulated server, asked without a request."""

    def __init__(self, server: EmulatedCluster, world: World) -> None:
        self._server, self._destinations = server, world.settings.destinations

    @property
    def weights(self) -> Weights:
        document = self._server.store.get("virtualservices", "canary-app", "canary-app")
        return find_split(document, self._destinations).weights


class EmulatedRollout(Rollout):
    """A rollout on the emulated cluster, which remembers every split."""

    def __init__(self, server: EmulatedCluster, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(world, monkeypatch, traffic=Traffic(server, world))
        self.server = server

    @property
    def splits(self) -> list[int]:
        """Stable's weight, from change to change, as the server saw it."""
        key = ("virtualservices", "canary-app", "canary-app")
        route = find_split(self.server.store.get(*key), self.world.settings.destinations).routes[0]
        _, _, _, number, *_ = route.stable.split("/")
        seen: list[int] = []
        for _, _, changed, document in self.server.store.history:
            if changed == key:
                weight = document["spec"]["http"][int(number)]["route"][0]["weight"]
                seen += [weight] if seen[-1:] != [weight] else []
        return seen

    def slows_pods(self, seconds: float) -> None:
        """Let new pods take so long, by the rollout's own clock."""
        kubelet = self.server.kubelet
        kubelet.ready_after, kubelet.now = seconds, lambda: self.clock.now().timestamp()


@pytest.fixture
def rollout(server: EmulatedCluster, cluster: World, monkeypatch: pytest.MonkeyPatch) -> EmulatedRollout:
    return EmulatedRollout(server, cluster, monkeypatch)


def test_a_healthy_canary_is_promoted_with_the_shipped_role_alone(rollout: EmulatedRollout, admin: Api) -> None:
    before = admin.get(VIRTUAL_SERVICES, "canary-app")

    rollout.carry_out()

    assert rollout.record.ended.state is EndState.PROMOTED
    assert rollout.splits == SPLITS
    after = admin.get(VIRTUAL_SERVICES, "canary-app")
    for entry in (*before["spec"]["http"][2]["route"], *after["spec"]["http"][2]["route"]):
        entry["weight"] = 100 if entry["destination"]["subset"] == "stable" else 0
    assert after["spec"] == before["spec"]
    assert [pod.ready for pod in rollout.world.workloads.pods()] == [True] * 6
    (adopted,) = rollout.record.of(StableChanged)
    assert (adopted.version, adopted.former) == ("v2", "v1")
    assert selected_version(rollout.world, Track.STABLE) == "v2"


def _behind_two_routes(admin: Api) -> None:
    """Let the service lie behind two HTTP routes, half of its traffic each."""
    live = admin.get(VIRTUAL_SERVICES, "canary-app")["spec"]["http"][2]
    api = live | {"name": "api", "match": [{"uri": {"prefix": "/api"}}], "timeout": "30s"}
    admin.patch(VIRTUAL_SERVICES, "canary-app", [{"op": "add", "path": "/spec/http/0", "value": api}])


@pytest.mark.parametrize(("errors", "end"), [(0.0, [100, 80, 50, 0, 100]), (0.05, [100, 80, 100])])
def test_both_routes_of_a_service_get_every_split_in_one_write(
    rollout: EmulatedRollout, server: EmulatedCluster, admin: Api, errors: float, end: list[int]
) -> None:
    _behind_two_routes(admin)
    before = admin.get(VIRTUAL_SERVICES, "canary-app")["spec"]
    rollout.metrics.behaviour[Track.CANARY].errors = errors

    rollout.carry_out()

    seen = [
        tuple(document["spec"]["http"][number]["route"][0]["weight"] for number in (0, 3))
        for _, _, key, document in server.store.history
        if key[0] == "virtualservices" and len(document["spec"]["http"]) == 4
    ]
    assert [split for number, split in enumerate(seen) if split not in seen[number - 1 : number]] == [
        (weight, weight) for weight in end
    ]
    assert admin.get(VIRTUAL_SERVICES, "canary-app")["spec"] == before


def test_a_split_that_somebody_changes_in_one_of_two_routes_is_drift(rollout: EmulatedRollout, admin: Api) -> None:
    _behind_two_routes(admin)
    rollout.plan = PLAN.model_copy(update={"drift": WhenDrifted.ABORT})
    change = {"op": "add", "path": "/spec/http/0/route/1/weight", "value": 60}
    rollout.when("introduce", 2, lambda: admin.patch(VIRTUAL_SERVICES, "canary-app", [change]))

    rollout.carry_out()

    assert rollout.record.ended.state is EndState.ROLLED_BACK
    assert rollout.record.of(DriftDetected)
    assert rollout.world.router.read_weights() == AT_REST


def test_a_promotion_that_is_interrupted_while_stable_changes_its_meaning_ends_on_the_old_version(
    rollout: EmulatedRollout, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "set_stable_version", _interrupted(promotion.set_stable_version))

    with pytest.raises(KeyboardInterrupt):
        rollout.carry_out()

    assert (selected_version(rollout.world, Track.STABLE), rollout.world.router.read_weights()) == ("v1", AT_REST)
    assert rollout.record.ended.state is EndState.FAILED
    assert len(admin.list(PODS, "version=v1")) == 3


def _interrupted(done: Callable[[World, str], None]) -> Callable[[World, str], None]:
    """Return the same, done and then interrupted at the first time."""
    times = count()

    def call(world: World, version: str) -> None:
        done(world, version)
        if next(times) == 0:
            raise KeyboardInterrupt

    return call


def test_until_retention_ends_a_restore_after_a_promotion_goes_back_to_the_old_version(
    rollout: EmulatedRollout, admin: Api
) -> None:
    rollout.carry_out()
    world, clock = rollout.world, rollout.clock
    opened = (lambda plan, name: rollout._open(plan, Target(), name), lambda plan: world)
    desk = Desk(world, *opened, clock, FakeNotices(), "ada")

    told = [*restore(desk, "checkout is slow")]

    assert "all traffic is on stable" in told
    assert (selected_version(rollout.world, Track.STABLE), rollout.world.router.read_weights()) == ("v1", AT_REST)
    assert rollout.record.ended.state is EndState.ROLLED_BACK
    assert [*restore(desk, "again")] == ["all traffic is on stable already"]


def test_a_plan_with_a_mirror_leaves_the_route_as_it_found_it(rollout: EmulatedRollout, admin: Api) -> None:
    before = admin.get(VIRTUAL_SERVICES, "canary-app")["spec"]
    rollout.plan = PLAN.model_copy(update={"mirror": Mirror(share="30%", bake=timedelta(seconds=10))})
    rollout.metrics.behaviour[Track.CANARY].errors = 0.05

    rollout.carry_out()

    history = [one for _, _, (plural, *_), one in rollout.server.store.history if plural == "virtualservices"]
    mirrors = [one["spec"]["http"][2].get("mirrorPercentage") for one in history]
    assert {"value": 30.0} in mirrors
    assert rollout.record.ended.state is EndState.ROLLED_BACK
    assert json.dumps(admin.get(VIRTUAL_SERVICES, "canary-app")["spec"]) == json.dumps(before)


def test_a_worse_canary_is_rolled_back_and_its_pods_are_gone(rollout: EmulatedRollout, admin: Api) -> None:
    rollout.metrics.behaviour[Track.CANARY].errors = 0.05

    rollout.carry_out()

    assert rollout.record.ended.state is EndState.ROLLED_BACK
    assert rollout.splits == [100, 80, 100]
    assert len(admin.list(PODS, "version=v2")) == 0
    told = [event["reason"] for event in admin.list(EVENTS)]
    assert told.count("Weights") == 3
    assert (told.count("Decision"), told[-1]) == (1, "Ended")


def test_a_crash_loop_is_rolled_back(rollout: EmulatedRollout, server: EmulatedCluster) -> None:
    def crash() -> None:
        (pod,) = server.store.list("pods", "canary-app", "version=v2")[0]
        server.kubelet.crash("canary-app", pod["metadata"]["name"], times=2)

    rollout.when("introduce", 3, crash)

    rollout.carry_out()

    assert rollout.record.ended.state is EndState.ROLLED_BACK
    assert "crash loop: pod canary-app-v2-" in rollout.record.ended.reason


def test_an_image_that_cannot_be_pulled_is_rolled_back_in_seconds_and_without_any_traffic(
    rollout: EmulatedRollout,
) -> None:
    settings = rollout.world.settings.model_copy(update={"image": "missing:v2"})
    rollout.world = attach(settings)
    began = rollout.clock.time

    rollout.carry_out()

    assert rollout.record.ended.reason == "canary cannot start: ImagePullBackOff for 3 scrapes"
    assert rollout.splits == [100]
    assert rollout.record.ended.at - began < PLAN.baseline.observe + timedelta(seconds=10)


def _lets_pods_take(admin: Api, *, deadline: int, startup: int) -> None:
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10, "failureThreshold": startup // 10}
    main = "/spec/template/spec/containers/0/startupProbe"
    patch = [
        {"op": "add", "path": "/spec/progressDeadlineSeconds", "value": deadline},
        {"op": "add", "path": main, "value": probe},
    ]
    admin.patch(DEPLOYMENTS, "canary-app-v2", patch)


@pytest.mark.parametrize(("deadline", "startup"), [(600, 60), (120, 500)])
def test_pods_that_take_long_are_waited_for_as_long_as_their_deployment_says(
    rollout: EmulatedRollout, admin: Api, deadline: int, startup: int
) -> None:
    _lets_pods_take(admin, deadline=deadline, startup=startup)
    rollout.slows_pods(150)

    rollout.carry_out()

    assert rollout.record.ended.state is EndState.PROMOTED
    scaled = [event.seconds for event in rollout.record.of(Scaled) if event.replicas]
    assert 150 <= scaled[0] <= 160


def test_pods_that_take_longer_than_the_plan_allows_get_no_traffic(rollout: EmulatedRollout, admin: Api) -> None:
    _lets_pods_take(admin, deadline=600, startup=500)
    rollout.plan = PLAN.model_copy(update={"ready_within": timedelta(seconds=100)})
    rollout.slows_pods(150)

    rollout.carry_out()

    assert rollout.record.ended.reason == "canary is not ready: fewer than 1 pods after 1 min 40 s"
    assert rollout.splits == [100]


@pytest.mark.parametrize(
    ("reason", "times", "said"),
    [
        ("ImagePullBackOff", 0, "canary cannot start: ImagePullBackOff in init container warm for 3 scrapes"),
        ("CrashLoopBackOff", 2, r"crash loop: pod canary-app-v2-\d+ restarted 2 times in 5 min"),
        ("CrashLoopBackOff", 0, "canary is not ready: .* after 2 min .CrashLoopBackOff in init container warm.$"),
    ],
)
def test_an_init_container_that_fails_is_named_and_the_canary_gets_no_traffic(
    rollout: EmulatedRollout, server: EmulatedCluster, reason: str, times: int, said: str
) -> None:
    server.kubelet.stuck = {"v2"}

    def stall(more: int) -> None:
        (pod,) = (one for one in rollout.world.workloads.pods() if one.track is Track.CANARY)
        server.kubelet.stall("canary-app", pod.name, "warm", reason, times=more)

    rollout.clock.after(timedelta(seconds=20), lambda: stall(0))
    rollout.clock.after(timedelta(seconds=30), lambda: stall(times))

    rollout.carry_out()

    assert re.fullmatch(said, rollout.record.ended.reason)
    assert rollout.splits == [100]


def test_pods_that_no_node_takes_are_told_with_the_schedulers_words(
    rollout: EmulatedRollout, server: EmulatedCluster
) -> None:
    server.kubelet.stuck = {"v2"}
    why = {"reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}

    def starve() -> None:
        (pod,) = (one for one in rollout.world.workloads.pods() if one.track is Track.CANARY)
        status = server.store.objects["pods", "canary-app", pod.name]["status"]
        status.pop("containerStatuses")
        status["conditions"] = [{"type": "PodScheduled", "status": "False"} | why]

    rollout.clock.after(timedelta(seconds=20), starve)

    rollout.carry_out()

    words = "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."
    assert rollout.record.ended.reason == f"canary is not ready: fewer than 1 pods after 2 min ({words})"
    told = [event for event in rollout.record.of(Alarm) if words in event.what]
    assert [alarm.what for alarm in told] == [f"the canary's pods are not ready yet ({words})"]
    assert rollout.record.ended.at - told[0].at > timedelta(seconds=90)


def test_a_pod_that_is_killed_for_its_memory_is_rolled_back_at_the_first_time(
    rollout: EmulatedRollout, server: EmulatedCluster
) -> None:
    def kill() -> None:
        (pod,) = server.store.list("pods", "canary-app", "version=v2")[0]
        server.kubelet.crash("canary-app", pod["metadata"]["name"], reason="OOMKilled")

    rollout.when("introduce", 3, kill)

    rollout.carry_out()

    assert rollout.record.ended.reason.startswith("out of memory: pod canary-app-v2-")
    assert rollout.splits == [100, 80, 100]


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [("ReplicaFailure", "True", "FailedCreate"), ("Progressing", "False", "ProgressDeadlineExceeded")],
)
def test_pods_that_the_deployment_cannot_make_are_rolled_back_in_seconds(
    rollout: EmulatedRollout, server: EmulatedCluster, kind: str, status: str, reason: str
) -> None:
    said = [{"type": kind, "status": status, "reason": reason, "message": "no room"}]
    rollout.when("introduce", 2, lambda: server.kubelet.conditions.update({"canary-app-v2": said}))

    rollout.carry_out()

    assert rollout.record.ended.reason == f"canary cannot start: {reason}: no room for 3 scrapes"
    assert rollout.splits == [100, 80, 100]


def test_the_comparison_begins_again_when_what_the_canary_reads_changes(
    rollout: EmulatedRollout, server: EmulatedCluster, admin: Api
) -> None:
    spec = "/spec/template/spec"
    reads = [
        {"op": "add", "path": f"{spec}/volumes", "value": [{"name": "flags", "configMap": {"name": "flags"}}]},
        {"op": "add", "path": f"{spec}/containers/0/envFrom", "value": [{"secretRef": {"name": "keys"}}]},
    ]
    admin.patch(DEPLOYMENTS, "canary-app-v2", reads)
    server.rules = [*server.rules, {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    for kind, name in (("ConfigMap", "flags"), ("Secret", "keys")):
        server.put({"kind": kind, "metadata": {"name": name, "namespace": "canary-app"}, "data": {"a": "MQ=="}})
    admin.patch(CONFIG_MAPS, "flags", {"metadata": {"labels": {"team": "shop"}}})
    rollout.when("introduce", 20, lambda: admin.patch(CONFIG_MAPS, "flags", {"data": {"a": "2"}}))
    rollout.when("increase", 5, lambda: admin.patch(SECRETS, "keys", {"data": {"a": "Mg=="}}))

    rollout.carry_out()

    begun, again, then, last = [
        event for event in rollout.record.events if isinstance(event, ComparisonRestarted | StepStarted)
    ][:4]
    assert (again.reason, last.reason) == (
        "ConfigMap flags changed, which the canary reads",
        "Secret keys changed, which the canary reads",
    )
    assert then.at - again.at >= PLAN.steps[0].bake
    assert (begun.step, again.step, last.step) == ("introduce", "introduce", "increase")
    assert rollout.record.ended.state is EndState.PROMOTED


def test_a_persons_abort_is_heard(rollout: EmulatedRollout) -> None:
    word = Signal(SignalKind.ABORT, "looks wrong", "ada", datetime.now(UTC))
    rollout.when("introduce", 2, lambda: attach(rollout.world.settings).signals("r1").send(word))

    rollout.carry_out()

    assert rollout.record.ended.reason == "aborted by ada: looks wrong"
    assert rollout.splits == [100, 80, 100]


def test_an_emergency_rollback_by_kubectl_ends_the_rollout_as_rolled_back(rollout: EmulatedRollout, admin: Api) -> None:
    def pull() -> None:
        operations = [
            {"op": "add", "path": "/spec/http/2/route/0/weight", "value": 100},
            {"op": "add", "path": "/spec/http/2/route/1/weight", "value": 0},
            {"op": "add", "path": "/metadata/annotations/canary-pipeline~1epoch", "value": "2"},
            {"op": "add", "path": "/metadata/annotations/canary-pipeline~1abort", "value": "break glass"},
        ]
        admin.patch(VIRTUAL_SERVICES, "canary-app", operations)

    rollout.when("introduce", 2, pull)

    rollout.carry_out()

    assert rollout.record.ended.state is EndState.ROLLED_BACK
    assert rollout.record.ended.reason == "aborted by kubectl: break glass"
    assert rollout.splits == [100, 80, 100]
    assert len(admin.list(PODS, "version=v2")) == 0


def test_a_gitops_reset_is_attributed_and_written_again_when_the_plan_says_so(
    rollout: EmulatedRollout, server: EmulatedCluster
) -> None:
    (resting,) = documents("istio/virtual-service.yaml")
    key = ("virtualservices", "canary-app", "canary-app")
    rollout.plan = PLAN.model_copy(update={"drift": WhenDrifted.REASSERT})
    rollout.when("introduce", 2, lambda: server.store.patch(*key, resting, content=APPLY, manager="argocd", force=True))

    rollout.carry_out()

    (drifted,) = rollout.record.of(DriftDetected)
    assert drifted.who.startswith("argocd (by server-side apply")
    assert rollout.splits == [100, 80, 100, *SPLITS[1:]]
    assert rollout.record.ended.state is EndState.PROMOTED


def test_a_rollout_whose_lock_was_taken_over_touches_nothing_more(rollout: EmulatedRollout) -> None:
    def take_over() -> None:
        other = attach(rollout.world.settings)
        rollout.world.lock("r1").release()
        other.lock("bob").acquire()

    rollout.when("introduce", 2, take_over)

    with pytest.raises(LockedError, match="lost the lock to bob"):
        rollout.carry_out()

    assert rollout.splits == [100, 80]


def test_a_canary_that_reads_a_secret_which_the_role_does_not_grant_is_released_all_the_same(
    rollout: EmulatedRollout, server: EmulatedCluster, admin: Api
) -> None:
    reads = {
        "op": "add",
        "path": "/spec/template/spec/containers/0/envFrom",
        "value": [{"secretRef": {"name": "keys"}}],
    }
    admin.patch(DEPLOYMENTS, "canary-app-v2", [reads])
    server.put({"kind": "Secret", "metadata": {"name": "keys", "namespace": "canary-app"}, "data": {"a": "MQ=="}})

    rollout.carry_out()

    assert rollout.record.ended.state is EndState.PROMOTED
    assert len([path for _, path in server.requests if "/secrets/" in path]) == 1  # once refused, not asked again


def test_every_permission_is_used_and_no_other_is_asked_for(
    rollout: EmulatedRollout, server: EmulatedCluster, admin: Api
) -> None:
    rollout.carry_out()

    used = {(method, path.split("?")[0].split("/canary-app/", 1)[-1]) for method, path in server.requests}
    written = {path.split("/")[0] for method, path in used if method in ("POST", "PATCH")}
    granted = {one.resource.split("/")[0] for one in PERMISSIONS if one.verb in ("create", "patch")}
    # Autoscalers, subsets and the canary's image are changed where there is something to change.
    assert written <= granted
    assert granted - written <= {"destinationrules", "horizontalpodautoscalers"}


@pytest.mark.parametrize(("errors", "seed"), [(0.0, 1), (0.02, 4)])
def test_two_hundred_faults_of_the_server_change_neither_the_outcome_nor_a_single_split(
    rollout: EmulatedRollout, server: EmulatedCluster, errors: float, seed: int
) -> None:
    # Calls may take as long as production lets them: the machine that runs this may be busy.
    rollout.world = attach(rollout.world.settings.model_copy(update={"scrape_seconds": PLAN_SCRAPE_SECONDS}))
    rollout.metrics.behaviour[Track.CANARY].errors = errors
    server.faults.at_random(seed, rate=0.4 if not errors else 0.55, most=200)

    rollout.carry_out()

    seen, ended = sum(server.faults.seen.values()), rollout.record.ended
    assert seen == 200 if not errors else seen > 60
    assert ended.state is (EndState.ROLLED_BACK if errors else EndState.PROMOTED)
    assert rollout.splits == ([100, 80, 100] if errors else SPLITS)


def test_events_of_several_processes_at_once_are_all_kept_in_order(cluster: World) -> None:
    def tell(who: str) -> None:
        ledger = attach(cluster.settings).ledger("r1")
        for number in range(10):
            ledger.append(Alarm(at=datetime.now(UTC), what=f"{who} {number}"))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(tell, ("ada", "bob", "eve")))

    told = [event.what for event in cluster.ledger("r1").read().of(Alarm)]
    assert len(told) == 30
    for who in ("ada", "bob", "eve"):
        assert [what for what in told if what.startswith(who)] == [f"{who} {number}" for number in range(10)]


def test_the_record_stays_within_a_config_map_and_keeps_what_was_done() -> None:
    at = datetime(2026, 1, 5, 9, tzinfo=UTC)
    done = [WeightsSet(at=at, stable=80, canary=20, reason="introduce", milliseconds=3.0)]
    verdicts = [VerdictChanged(at=at, step="full", verdict=_verdict(number)) for number in range(2500)]
    end = [Ended(at=at, state=EndState.PROMOTED, reason="fine")]
    lines = "".join(dump_event(event) + "\n" for event in [*done, *verdicts, *end])

    kept = parse_events(bounded(lines, 50_000).splitlines())

    assert (kept[0], kept[-1]) == (done[0], end[0])
    assert list(kept[-101:-1]) == verdicts[-100:]
    assert 100 < len(kept) < 2500


def _verdict(number: int) -> VerdictEntry:
    reason = f"{number * 7919 % 10007} of {number * 104729 % 15485863} requests needed"
    finding = FindingEntry(criterion="errors", basis=Basis.RELATIVE, outcome=Outcome.PASS, reason=reason)
    needed = {"rollback_needed": 4.6, "promotion_evidence": 1.0, "promotion_needed": 3.0}
    return VerdictEntry(
        outcome=Outcome.PASS, reason=reason, findings=(finding,), rollback_evidence=number / 7, **needed
    )


def test_another_process_reads_the_series_that_the_owner_drew(rollout: EmulatedRollout, admin: Api) -> None:
    rollout.carry_out()

    record = rollout.record
    assert record.series["weight_asked"][-1].mean == 100.0
    (ledger,) = [one for one in admin.list(CONFIG_MAPS) if one["metadata"]["name"] == "rollout-r1"]
    assert sum(len(data) for data in ledger["binaryData"].values()) < 700_000
    assert rollout.world.rollouts() == ("r1",)


def test_a_rollout_that_is_forgotten_leaves_nothing_behind(cluster: World, admin: Api) -> None:
    cluster.ledger("r1").append(Alarm(at=datetime.now(UTC), what="one"))
    cluster.signals("r1").send(Signal(SignalKind.COMPLAINT, "slow", "ada", datetime.now(UTC)))

    for _ in range(2):
        cluster.forget("r1")

    assert (cluster.rollouts(), admin.list(CONFIG_MAPS)) == ((), [])
