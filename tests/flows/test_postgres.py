import asyncio
from pathlib import Path

import asyncpg
import pytest

from flows.server.postgres import find_programs, running_postgres
from rollout.errors import SetupError
from tests.folders import enterable

pytestmark = pytest.mark.e2e


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    return enterable(tmp_path)


def asked(url: str, query: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.fixture(autouse=True)
def _installed() -> None:
    try:
        find_programs()
    except SetupError as error:
        pytest.skip(str(error))


def test_what_was_kept_is_there_at_the_next_start(reachable: Path) -> None:
    with running_postgres(reachable / "postgres") as url:
        asked(url, "create table kept as select 7 as number")

    with running_postgres(reachable / "postgres") as url:
        assert asked(url, "select number from kept") == 7


def test_nobody_gets_in_without_the_password(reachable: Path) -> None:
    with running_postgres(reachable / "postgres") as url:
        password = url.partition("://")[2].partition(":")[2].partition("@")[0]

        with pytest.raises(asyncpg.InvalidPasswordError):
            asked(url.replace(password, "guessed"), "select 1")


def test_it_listens_on_the_loopback_alone(reachable: Path) -> None:
    with running_postgres(reachable / "postgres") as url:
        assert asked(url, "select setting from pg_settings where name = 'listen_addresses'") == "127.0.0.1"


def test_it_is_gone_afterwards_though_a_client_hangs_on(reachable: Path) -> None:
    async def hang_on() -> None:
        with running_postgres(reachable / "postgres") as url:
            connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        connection.terminate()

    asyncio.run(hang_on())

    assert not (reachable / "postgres" / "data" / "postmaster.pid").exists()


def test_a_folder_that_cannot_be_used_is_said_in_one_line(reachable: Path) -> None:
    (reachable / "file").write_text("")

    with pytest.raises(SetupError, match="postgres: ") as raised, running_postgres(reachable / "file" / "postgres"):
        pass

    assert "\n" not in str(raised.value)
