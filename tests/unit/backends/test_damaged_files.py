"""Whatever lies in a state folder: named, left alone, set aside before something is written, never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.local.children import was_running_at
from backends.local.environment import World
from backends.local.envoy_config import route_file, routes
from backends.local.folder import ObservedState, Settings, StateFolder
from backends.local.lease import Fence, Lease, LeaseFile
from backends.local.ledger import LocalLedger
from backends.local.lock import LocalLock
from backends.local.router import LocalRouter
from backends.local.signals import LocalSignals
from conductor.commands.survey import survey
from conductor.state.position import position_on_record
from rollout.errors import ConflictError, DamagedError, LockedError, RolloutError
from rollout.events import (
    Alarm,
    Ended,
    EndState,
    Started,
)
from rollout.model import Track, Weights
from rollout.plan import parse_plan
from rollout.ports import Signal, SignalKind
from rollout.record import SeriesPoint

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
PLAN = parse_plan((Path(__file__).parents[3] / "demo.yaml").read_text())
STARTED = Started(at=AT, rollout="r", plan=PLAN, who="ada", backend="local")
ENDED = Ended(at=AT + timedelta(seconds=9), state=EndState.ROLLED_BACK, reason="worse")


def directory(file: Path) -> None:
    file.unlink(missing_ok=True)
    (file / "below").mkdir(parents=True)


def loop(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to(file.name)


def pipe(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def content(data: bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    return write


FOREIGN = [b"", b"\xff\xfe", b"null", b"[]", b"{}", b"{torn", b'"text"', b"\0" * 5000, b"[" * 50_000, b"1" * 9_999]
NEWER = [b'{"kind": "a newer one", "at": "2026-01-05T09:00:00Z"}', b'{"epoch": 7, "shard": 1}', b'{"epoch": -1}']
DAMAGE = [directory, loop, pipe, *map(content, [*FOREIGN, *NEWER])]
damaged_bytes = st.binary(max_size=60) | st.sampled_from([*FOREIGN, *NEWER])


def world_in(path: Path) -> World:
    versions = {Track.STABLE: "v1", Track.CANARY: "v2"}
    settings_ = Settings(
        service="shop", versions=versions, scrape_seconds=1, timeout_seconds=15, seed=1, envoy="", prometheus=""
    )
    return World(StateFolder(path), settings_, ObservedState(at=0.0, supervisor=0))


def filled(path: Path, name: str) -> LocalLedger:
    ledger = LocalLedger(path / "rollouts" / name)
    for event in (STARTED, Alarm(at=AT, what="hot"), ENDED):
        ledger.append(event)
    ledger.add_points([SeriesPoint.single("a", AT, 1.0)])
    ledger.save_state("{}")
    return ledger


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["events.jsonl", "series.jsonl", "state.json", "signals.jsonl"])
def test_a_damaged_file_of_one_rollout_hides_no_other_and_can_be_written_on(
    tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    filled(tmp_path, "old")
    filled(tmp_path, "now")
    damage(tmp_path / "rollouts" / "old" / file)
    world = world_in(tmp_path)

    assert "now" in [one.name for one in survey(world).begun]
    position_on_record(world.ledger("old"))

    old, signal = LocalLedger(tmp_path / "rollouts" / "old"), Signal(SignalKind.ABORT, "now", "ada", AT)
    old.append(Alarm(at=AT, what="written on"))
    old.add_points([SeriesPoint.single("b", AT, 2.0)])
    old.save_state('{"a": 1}')
    world.signals("old").send(signal)

    assert [event.what for event in old.read().of(Alarm)][-1] == "written on"
    assert old.read().series["b"][0].mean == 2.0
    assert old.load_state() == '{"a": 1}'
    assert world.signals("old").read()[-1] == signal


@pytest.mark.parametrize("damage", [directory, loop, pipe])
def test_what_lies_in_a_files_place_is_kept_under_another_name(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(tmp_path / "events.jsonl")

    LocalLedger(tmp_path).append(STARTED)

    assert len(list(tmp_path.glob("events.jsonl.damaged-*"))) == 1
    assert LocalLedger(tmp_path).read().started == STARTED


@settings(max_examples=300, derandomize=True)
@given(damage=damaged_bytes, line=st.integers(0, 2), whole=st.booleans())
def test_a_damaged_line_is_named_with_file_and_line_and_stays_where_it_is(
    damage: bytes, line: int, whole: bool
) -> None:
    with TemporaryDirectory() as folder:
        ledger = filled(Path(folder), "r")
        file = Path(folder) / "rollouts" / "r" / "events.jsonl"
        lines = file.read_bytes().splitlines(keepends=True)
        damage = damage.replace(b"\n", b"")
        lines[line] = (damage + b"\n") if whole else lines[line][: len(lines[line]) // 2] + damage + b"\n"
        file.write_bytes(b"".join(lines))

        record = ledger.read()
        LocalLedger(file.parent).append(Alarm(at=AT, what="written on"))

        expected = () if whole and not damage.strip() else (f"{file} line {line + 1}: cannot be read",)
        assert record.damage == expected
        assert len(record.events) == 2
        assert file.read_bytes().startswith(b"".join(lines))


def test_a_file_too_large_is_read_at_both_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.local.damaged_files.MOST_BYTES", 40_000)
    ledger = filled(tmp_path, "r")
    file = tmp_path / "rollouts" / "r" / "events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], b"\xff" * 100_000, b"\n", lines[-1]]))

    record = ledger.read()

    assert (record.started, record.ended) == (STARTED, ENDED)
    assert record.damage


def test_an_old_record_that_may_have_lost_its_end_is_not_under_way(tmp_path: Path) -> None:
    filled(tmp_path, "old")
    file = tmp_path / "rollouts" / "old" / "events.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"ended"', b'"enXed"'))
    later = LocalLedger(tmp_path / "rollouts" / "now")
    later.append(STARTED.model_copy(update={"at": AT + timedelta(hours=1), "rollout": "now"}))

    found = survey(world_in(tmp_path))

    assert [one.name for one in found.unfinished] == ["now"]
    assert list(found.damage) == ["old"]


@pytest.mark.parametrize("name", ["..", "a b", "Ünicode", "x" * 200, ".hidden"])
def test_a_folder_that_is_no_rollouts_is_passed_over(tmp_path: Path, name: str) -> None:
    filled(tmp_path, "now")
    (tmp_path / "rollouts" / name).mkdir(exist_ok=True)
    (tmp_path / "rollouts" / "link").symlink_to("nowhere")

    assert world_in(tmp_path).rollouts() == ("now",)


ACQUIRE = """
import sys
from pathlib import Path
from backends.local.lock import LocalLock
lock = LocalLock(Path(sys.argv[1]), sys.argv[2])
lock.acquire()
print(lock.fence.epoch)
"""


def acquired_elsewhere(file: Path, owner: str) -> str:
    command = [sys.executable, "-c", ACQUIRE, str(file), owner]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@settings(max_examples=300, derandomize=True)
@given(damage=damaged_bytes | st.none())
def test_a_lock_that_is_lost_is_taken_back_by_its_owner_in_its_own_epoch(damage: bytes | None) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "lock.json"
        ada = LocalLock(file, "ada", Fence())
        ada.acquire()
        epoch = ada.fence.epoch
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)

        ada.renew()

        assert ada.fence.epoch == epoch
        assert LeaseFile(file).read().epoch == epoch
        with pytest.raises(LockedError, match="steered by ada"):
            LocalLock(file, "bob", Fence()).acquire()
        kept = [aside.read_bytes() for aside in Path(folder).glob("lock.json.damaged-*")]
        assert kept in ([], [damage])
        assert kept or damage is None or _is_lease(damage)


def _is_lease(content_: bytes) -> bool:
    try:
        return bool(Lease.model_validate_json(content_))
    except ValueError:
        return False


@pytest.mark.parametrize("damage", [*DAMAGE, Path.unlink])
def test_an_epoch_never_comes_twice_and_the_former_owner_is_fenced_off(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    file = tmp_path / "lock.json"
    ada = LocalLock(file, "ada", Fence())
    ada.acquire()
    damage(file)

    epoch = acquired_elsewhere(file, "bob")

    assert int(epoch) > (ada.fence.epoch or 0)
    router = LocalRouter(tmp_path / "gateway", 1, timedelta(seconds=15), LeaseFile(file), ada.fence)
    with pytest.raises(RolloutError):
        router.set_weights(Weights(50, 50))
    assert not route_file(tmp_path / "gateway").exists()
    with pytest.raises(LockedError, match="lost the lock to bob"):
        ada.renew()


def _written(path: Path, epoch: int, pid: int) -> None:
    file = route_file(path / "gateway")
    file.parent.mkdir(parents=True, exist_ok=True)
    version = f"{epoch}-{int(datetime.now(UTC).timestamp() * 1e9)}-{pid}"
    file.write_text(json.dumps(routes(Weights(50, 50), version=version, timeout=timedelta(seconds=15))))


def test_whoever_wrote_the_split_and_lives_is_the_owner_where_the_lock_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    _written(tmp_path, 7, os.getppid())
    file.write_text("{torn")

    holder = LocalLock(file, "bob", Fence()).holder()

    assert holder is not None
    assert holder.lives
    with pytest.raises(LockedError, match=f"pid {os.getppid()}, which set the split"):
        LocalLock(file, "bob", Fence()).acquire()


def test_a_lost_lock_whose_last_writer_is_gone_can_be_had(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    _written(tmp_path, 7, int(gone.stdout))

    LocalLock(tmp_path / "lock.json", "bob", Fence()).acquire()


def test_an_owner_whose_lock_is_lost_and_whose_traffic_was_taken_does_not_take_it_back(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    ada = LocalLock(file, "ada", Fence())
    ada.acquire()
    file.unlink()
    _written(tmp_path, (ada.fence.epoch or 0) + 1, os.getpid())

    with pytest.raises(ConflictError, match="took the traffic out of our hands"):
        ada.renew()


def test_a_clock_that_was_set_back_makes_no_epoch_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lock.json"
    ada, bob = LocalLock(file, "ada", Fence()), LocalLock(file, "bob", Fence())
    ada.acquire()
    first = ada.fence.epoch
    ada.release()
    monkeypatch.setattr("backends.local.lease.time.time_ns", lambda: 5)

    bob.acquire()

    assert first is not None
    assert bob.fence.epoch == first + 1


def test_a_reader_is_told_of_a_path_that_is_no_file_as_of_damage(tmp_path: Path) -> None:
    directory(tmp_path / "events.jsonl")

    with pytest.raises(DamagedError, match=r"events\.jsonl"):
        LocalLedger(tmp_path).read()


def test_a_signal_after_half_a_line_is_heard(tmp_path: Path) -> None:
    signals = LocalSignals(tmp_path / "signals.jsonl")
    (tmp_path / "signals.jsonl").write_bytes(b'{"kind": "ab')
    said = Signal(SignalKind.ABORT, "looks wrong", "ada", AT)

    signals.send(said)

    assert signals.read() == (said,)


def test_a_process_that_lives_is_told_from_one_that_has_its_number_now() -> None:
    assert was_running_at(os.getpid(), datetime.now(UTC).timestamp())
    assert not was_running_at(os.getpid(), 1.0)
