"""`ringback doctor` on a PostgreSQL server: who works with it, and what it lets its user do."""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import postgres
from tests.support.pooling import pooler, strict_pooler
from tests.support.server import LOCAL, Server, free_port, ringback

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A server with a migrated database."""
    with postgres.server() as server:
        folder = tmp_path_factory.mktemp("migrating")
        assert ringback(folder, "migrate", settings=with_url(server.url())).returncode == 0
        yield server


def with_url(url: str, **more: str) -> dict[str, str]:
    return {
        **LOCAL,
        "RINGBACK_DATABASE_URL": url,
        "RINGBACK_TRUST_DATABASE": "true",
        "RINGBACK_ADMIN_KEY": "rb_test_admin_of_all_processes",
        "RINGBACK_ENCRYPTION_KEYS": "k1:" + base64.b64encode(b"1" * 32).decode(),
        **more,
    }


async def examined(folder: Path, settings: Mapping[str, str]) -> list[dict[str, Any]]:
    """The findings of the doctor."""
    done = await asyncio.to_thread(ringback, folder, "doctor", "-o", "json", settings=settings)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def of(check: str, findings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["level"], each["found"]) for each in findings if each["check"] == check]


async def test_it_tells_the_version_the_size_and_the_connections(
    tmp_path: Path, own: postgres.Server
) -> None:
    found = await examined(tmp_path, with_url(own.url()))

    told = [said for _, said in of("database", found)]
    assert "PostgreSQL 18" in told
    assert "postgres may make and drop the parts of tables" in told
    ((level, disk),) = of("disk", found)
    assert level == "ok"
    assert "takes 0.0 GiB; what is free on its server's disk is not to be seen" in disk
    ((level, connections),) = of("connections", found)
    assert level == "ok"
    assert " of 197 connections are in use" in connections


async def test_it_misses_roles_among_those_that_run(
    tmp_path: Path, own: postgres.Server, redis_url: str
) -> None:
    settings = with_url(own.url(), RINGBACK_REDIS_URL=redis_url)
    assert of("processes", await examined(tmp_path, settings)) == [
        ("ok", "none works with the database now")
    ]
    with ExitStack() as running:

        def start(roles: str) -> None:
            apart = () if "api" in roles else ("--status-port", port := str(free_port()))
            arguments = ("--roles", roles, *apart)
            server = Server(tmp_path / roles, settings, arguments, int(port) if apart else 0)
            running.enter_context(server)

        await asyncio.to_thread(start, "api")
        missing = of("processes", await examined(tmp_path, settings))
        assert [level for level, _ in missing] == ["fault", "fault"]
        assert "no process with the role sweeper" in missing[0][1]
        assert "no process with the role worker" in missing[1][1]

        await asyncio.to_thread(start, "worker,sweeper")
        assert of("processes", await examined(tmp_path, settings)) == [
            ("ok", "there are some of every role")
        ]


async def test_it_says_what_the_user_may_not_do(tmp_path: Path, own: postgres.Server) -> None:
    for statement in (
        "CREATE ROLE plain LOGIN",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO plain",
        "ALTER ROLE plain CONNECTION LIMIT 5",
    ):
        await postgres.run(own.url(), statement)
    settings = with_url(own.url().replace("postgres@", "plain@"))

    found = await examined(tmp_path, settings)

    parts = "plain may not make or drop the parts of tables"
    assert ("warning", parts) in of("database", found)
    assert "fault" not in {level for level, _ in of("database", found)}
    ((level, said),) = of("connections", found)
    assert level == "warning"
    assert " of 5 connections are in use" in said


async def test_a_user_who_may_only_read_is_told(tmp_path: Path, own: postgres.Server) -> None:
    for statement in (
        "CREATE ROLE stranger LOGIN",
        "CREATE ROLE reader LOGIN IN ROLE pg_read_all_data",
    ):
        await postgres.run(own.url(), statement)
    for name, said in (
        ("reader", "reader may not work with "),
        ("stranger", "permission denied for table alembic_version"),
    ):
        settings = with_url(own.url().replace("postgres@", f"{name}@"))
        found = of("database", await examined(tmp_path, settings))
        assert [level for level, each in found if said in each] == ["fault"], found
    settings = with_url(own.url().replace("postgres@", "reader@"))
    done = await asyncio.to_thread(ringback, tmp_path, "serve", settings=settings)
    assert done.returncode == 1
    assert "The database did not take the change: permission denied" in done.stderr


@pytest.mark.parametrize("flag", ["", "&pgbouncer=true"])
async def test_it_sees_a_pooler_that_it_was_not_told_of(
    tmp_path: Path, own: postgres.Server, flag: str
) -> None:
    socket = own.url().partition("host=")[2] + "/.s.PGSQL.5432"
    async with pooler(socket) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable{flag}"
        found = await examined(tmp_path, with_url(url))

    said = "tells of another process than the server has for it. A pooler stands before it: add"
    seen = [each for each in of("database", found) if said in each[1]]
    assert [level for level, _ in seen] == ([] if flag else ["fault"])


async def test_a_pooler_that_drops_limits_is_told_with_what_to_write(
    tmp_path: Path, own: postgres.Server
) -> None:
    socket = own.url().partition("host=")[2] + "/.s.PGSQL.5432"
    async with pooler(socket, keeps_limits=False) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        done = await asyncio.to_thread(ringback, tmp_path, "serve", settings=with_url(url))
        ((level, found),) = of("database", await examined(tmp_path, with_url(url)))
        told = of("database", await examined(tmp_path, with_url(f"{url}&pgbouncer=true")))

    assert done.returncode == 1
    assert (level, found in done.stderr) == ("fault", True)
    assert "does not keep the limits that are given when connecting" in found
    assert "add pgbouncer=true to RINGBACK_DATABASE_URL" in found
    assert {level for level, _ in told} == {"ok", "warning"}


@pytest.mark.parametrize(
    ("flag", "advice"),
    [
        ("", "add pgbouncer=true to RINGBACK_DATABASE_URL"),
        ("&pgbouncer=true&search_path=mine", "does not take that from RINGBACK_DATABASE_URL"),
    ],
)
async def test_a_pooler_that_refuses_limits_is_told_with_what_to_write(
    tmp_path: Path, flag: str, advice: str
) -> None:
    async with strict_pooler() as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable{flag}"
        settings = with_url(url)
        done = await asyncio.to_thread(ringback, tmp_path, "serve", settings=settings)

    assert done.returncode == 1
    assert advice in done.stderr
