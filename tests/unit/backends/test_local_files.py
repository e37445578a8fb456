"""The embedded backend's files after crashes, and its pure documents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from backends.local.children import Child, identify
from backends.local.envoy import SPARE
from backends.local.envoy_config import Endpoint, bootstrap, endpoints, route_file, routes
from backends.local.folder import DesiredFault, DesiredState, StateFolder
from backends.local.lease import Fence, Lease, LeaseFile
from backends.local.ledger import LocalLedger
from backends.local.lock import LEASE_DURATION, LocalLock
from backends.local.restarting import SupervisedProcess
from backends.local.router import LocalRouter
from backends.local.signals import LocalSignals
from rollout.errors import ConflictError, LockedError, UnavailableError
from rollout.events import Alarm
from rollout.model import Track, Weights
from rollout.ports import Signal, SignalKind
from rollout.record import SeriesPoint

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)


def whats(ledger: LocalLedger) -> list[str]:
    return [event.what for event in ledger.read().of(Alarm)]


def test_a_record_cut_short_by_a_crash_is_read_to_its_last_whole_event(tmp_path: Path) -> None:
    LocalLedger(tmp_path).append(Alarm(at=AT, what="one"))
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"kind": "alarm", "at": "2026-01-05T09')

    assert whats(LocalLedger(tmp_path)) == ["one"]


def test_writing_goes_on_after_a_crash_without_spoiling_the_next_event(tmp_path: Path) -> None:
    LocalLedger(tmp_path).append(Alarm(at=AT, what="one"))
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"kind": "ala')

    LocalLedger(tmp_path).append(Alarm(at=AT, what="two"))

    assert whats(LocalLedger(tmp_path)) == ["one", "two"]


def test_points_cut_short_by_a_crash_are_left_out(tmp_path: Path) -> None:
    LocalLedger(tmp_path).add_points([SeriesPoint.single("a", AT, 1.0)])
    with (tmp_path / "series.jsonl").open("a") as file:
        file.write('{"series": "a", "at')

    assert [point.mean for point in LocalLedger(tmp_path).read().series["a"]] == [1.0]


def test_the_file_of_points_stays_bounded(tmp_path: Path) -> None:
    ledger = LocalLedger(tmp_path)

    for number in range(9000):
        ledger.add_points([SeriesPoint.single("a", AT + timedelta(seconds=number), 1.0)])

    assert len((tmp_path / "series.jsonl").read_text().splitlines()) < 5000


def test_a_ledger_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UnavailableError, match="ledger"):
        LocalLedger(tmp_path / "file" / "below").append(Alarm(at=AT, what="one"))


def test_the_lock_of_a_process_that_is_gone_can_be_had(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    acquire = "from pathlib import Path; from backends.local.lock import LocalLock; import sys;"
    acquire += "LocalLock(Path(sys.argv[1]), 'ada').acquire()"
    subprocess.run([sys.executable, "-c", acquire, str(file)], check=True)

    LocalLock(file, "bob").acquire()

    with pytest.raises(LockedError, match="lost the lock to bob"):
        LocalLock(file, "ada").renew()


def test_the_lock_of_an_owner_that_hangs_lapses(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    LocalLock(file, "ada").acquire()
    with pytest.raises(LockedError, match="steered by ada"):
        LocalLock(file, "bob").acquire()

    held = json.loads(file.read_text())
    file.write_text(json.dumps(held | {"renewed": str(datetime.now(UTC) - LEASE_DURATION - timedelta(seconds=1))}))

    LocalLock(file, "bob").acquire()


def test_a_signal_that_was_not_written_to_its_end_is_left_out(tmp_path: Path) -> None:
    signals = LocalSignals(tmp_path / "signals.jsonl")
    said = Signal(SignalKind.ABORT, "looks wrong", "ada", AT)
    signals.send(said)
    with (tmp_path / "signals.jsonl").open("a") as file:
        file.write('{"kind": "ab')

    assert signals.read() == (said,)


def test_wishes_of_two_writers_are_merged(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.write(DesiredState(replicas={Track.STABLE: 3, Track.CANARY: 0}))

    folder.update_desired(replicas={Track.CANARY: 2}, faults={})
    folder.update_desired(faults={Track.CANARY: DesiredFault(text="outage"), Track.STABLE: DesiredFault(text="outage")})
    folder.update_desired(faults={Track.STABLE: None})

    assert folder.desired() == DesiredState(
        replicas={Track.STABLE: 3, Track.CANARY: 2}, faults={Track.CANARY: DesiredFault(text="outage")}
    )


def test_a_process_that_ends_is_started_again_after_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("backends.local.restarting.time.monotonic", lambda: now)
    starts: list[float] = []

    def start() -> Child:
        starts.append(now)
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return Child("p", process, identify("p", process.pid), now)

    kept = SupervisedProcess(start)
    while now < 50:
        kept.tick()
        now += 0.125

    pauses = [later - earlier - 0.125 for earlier, later in pairwise(starts)]
    assert pauses[1:7] == [1, 2, 4, 8, 15, 15]
    assert pauses[0] == pytest.approx(0.5, abs=0.125)
    assert kept.restarts == len(starts) - 1


def test_a_process_that_ran_for_long_is_started_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("backends.local.restarting.time.monotonic", lambda: now)

    def start() -> Child:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return Child("p", process, identify("p", process.pid), now)

    kept = SupervisedProcess(start)
    for _ in range(3):
        now += 100
        kept.tick()
        assert kept.waiting == "CrashLoopBackOff"
        now += 0.51
        kept.tick()
        assert kept.waiting == ""


def test_routes_hold_the_weights_their_version_and_the_timeout() -> None:
    document = routes(Weights.with_canary(20), version="7", timeout=timedelta(seconds=15))

    split = document["resources"][0]["virtual_hosts"][0]["routes"][-1]["route"]

    assert document["version_info"] == "7"
    assert split["weighted_clusters"]["clusters"] == [
        {"name": "stable", "weight": 80},
        {"name": "canary", "weight": 20},
    ]
    assert split["timeout"] == "15s"


def test_endpoints_carry_what_the_statistics_are_labelled_with() -> None:
    document = endpoints("shop", Track.CANARY, [Endpoint("shop-v2-0", Track.CANARY, "v2", 4711)], version="1")

    (host,) = document["resources"][0]["endpoints"][0]["lb_endpoints"]

    assert host["metadata"]["filter_metadata"]["canary"] == {"version": "v2", "workload": "shop-v2", "pod": "shop-v2-0"}
    assert host["endpoint"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 4711}


def test_everything_listens_on_the_loopback_and_counts_under_istios_names(tmp_path: Path) -> None:
    document = bootstrap("shop", tmp_path, gateway_port=0, admin_port=0)

    text = json.dumps(document)
    logs = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["access_log"]
    counters = [log["typed_config"]["counters"][0]["stat"] for log in logs]

    assert "0.0.0.0" not in text
    assert {counter["name"] for counter in counters} == {"requests_total"}
    assert {tag["name"] for counter in counters for tag in counter["tags"]} == {
        "reporter",
        "destination_service_name",
        "destination_workload",
        "destination_version",
        "response_code",
        "response_flags",
        "grpc_response_status",
        "request_protocol",
        "pod",
    }


def test_every_owner_gets_an_epoch_of_its_own_also_after_the_lock_was_given_back(tmp_path: Path) -> None:
    ada, bob = LocalLock(tmp_path / "lock.json", "ada"), LocalLock(tmp_path / "lock.json", "bob")
    ada.acquire()
    first = ada.fence.epoch
    ada.release()

    bob.acquire()

    assert first is not None
    assert bob.fence.epoch is not None
    assert bob.fence.epoch > first
    assert ada.fence.epoch is None


def test_a_second_process_of_the_same_name_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    LocalLock(file, "ada").acquire()
    acquire = "from pathlib import Path; from backends.local.lock import LocalLock; import sys;"
    acquire += "LocalLock(Path(sys.argv[1]), 'ada').acquire()"

    second = subprocess.run([sys.executable, "-c", acquire, str(file)], capture_output=True, text=True, check=False)

    assert "LockedError: steered by ada" in second.stderr


def test_a_process_that_was_stopped_writes_nothing_into_a_record_that_somebody_else_has_ended(tmp_path: Path) -> None:
    lock = LeaseFile(tmp_path / "lock.json")
    stopped, next_one = Fence(epoch=1), Fence(epoch=2)
    lock.write(Lease(epoch=1, owner="ada", process=identify("ada", os.getpid()), taken_in=1))
    ledger = LocalLedger(tmp_path / "r", lock, stopped)
    ledger.append(Alarm(at=AT, what="one"))
    lock.write(Lease(epoch=2))  # taken over and given back meanwhile
    LocalLedger(tmp_path / "r", lock, next_one).append(Alarm(at=AT, what="two"))

    with pytest.raises(LockedError, match="1 -> 2"):
        ledger.append(Alarm(at=AT, what="three"))
    with pytest.raises(LockedError):
        ledger.save_state("{}")

    assert whats(LocalLedger(tmp_path / "r")) == ["one", "two"]


def test_who_lost_the_traffic_but_not_the_lock_still_writes_its_record(tmp_path: Path) -> None:
    lock, fence = LeaseFile(tmp_path / "lock.json"), Fence(epoch=1)
    lock.write(Lease(epoch=5, owner="ada", process=identify("ada", os.getpid()), taken_in=1))

    LocalLedger(tmp_path / "r", lock, fence).append(Alarm(at=AT, what="taken home by a restore"))

    assert whats(LocalLedger(tmp_path / "r")) == ["taken home by a restore"]


def test_an_owner_gives_no_share_back_that_was_taken_home_by_the_spare_routes(tmp_path: Path) -> None:
    StateFolder(tmp_path).make()
    spare = routes(Weights(100, 0), version=SPARE, timeout=timedelta(seconds=5))
    route_file(tmp_path / "gateway").write_text(json.dumps(spare))
    lock = LeaseFile(tmp_path / "lock.json")
    lock.write(Lease(epoch=1, owner="ada", process=identify("ada", os.getpid()), taken_in=1))
    router = LocalRouter(tmp_path / "gateway", 1, timedelta(seconds=5), lock, Fence(epoch=1))

    with pytest.raises(ConflictError, match="by the spare routes"):
        router.set_weights(Weights(80, 20))

    assert json.loads(route_file(tmp_path / "gateway").read_text()) == spare
