"""Starts and stops, the good and the refused ones, as the person at the terminal sees them."""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support.blackbox import blackbox, problem, verify
from tests.support.hostile import hang
from tests.support.lateness import stood_in_line
from tests.support.receiver import Receiver
from tests.support.server import LOCAL, Server, free_port, ringback
from tests.system.conftest import StartServer

K2 = "k2:" + base64.b64encode(b"2" * 32).decode()


def serve(folder: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    """The exit code and the words of a service that does not start."""
    port = {"RINGBACK_PORT": str(free_port())}
    done = ringback(folder, "serve", *arguments, settings={**port, **settings})
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_the_first_start_makes_keys_and_shows_the_admin_key_once(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        key = server.admin_key
        assert f"Ringback 0.1.0 listens on {server.url}" in server.output
        assert server.output.count(key) == 1
        assert server.stop() == 0
        assert server.start_seconds[-1] < 30
        for name in ("admin.key", "encryption.keys"):
            assert (tmp_path / "data" / name).stat().st_mode & 0o777 == 0o600

        server.start()
        assert server.admin_key == key
        assert server.output.count(key) == 1


def test_a_later_start_is_ready_within_three_seconds(start_server: StartServer) -> None:
    server = start_server()
    took = []
    for _ in range(3):
        assert server.stop() == 0
        server.start()
        took.append(server.start_seconds[-1] - stood_in_line(server.pid))
    assert min(took) < 3.0


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_soon(start_server: StartServer, by: signal.Signals) -> None:
    server = start_server()
    said = server.output
    begun = time.monotonic()
    assert server.stop(by) == 0
    assert time.monotonic() - begun < 10.0
    assert server.output.startswith(said)
    told = [json.loads(line) for line in server.output.removeprefix(said).splitlines()]
    assert [(each["event"], each["in_flight"]) for each in told] == [
        ("stopping", 0),
        ("stopped", 0),
    ]


async def test_it_stops_with_connections_open(start_server: StartServer) -> None:
    server = start_server()
    async with blackbox(server) as api:
        assert (await api.http.get("/livez")).status_code == 200
        with socket.create_connection(("127.0.0.1", server.port)) as idle:
            idle.sendall(b"POST /v1/events HTTP/1.1\r\n")
            begun = time.monotonic()
            assert await asyncio.to_thread(server.stop) == 0
            assert time.monotonic() - begun < 12.0


async def test_who_waits_for_a_receiver_that_hangs_is_told_that_it_stops(
    start_server: StartServer,
) -> None:
    server = start_server()
    async with Receiver(lambda _: hang) as hanging, blackbox(server) as api:
        tried = await api.subscribe(hanging.url(), timeoutSeconds=30)
        asked = {"url": hanging.url(), "verification": "challenge", "timeoutSeconds": 30}
        path = "/v1/subscriptions"
        waiting = [
            asyncio.create_task(api.http.post(f"{path}/{tried['id']}/test")),
            asyncio.create_task(api.http.post(path, json=asked)),
        ]
        await hanging.wait_for(2)
        assert await asyncio.to_thread(server.stop) == 0
        for answer in await asyncio.gather(*waiting):
            assert "is stopping" in problem(answer, 503, "unavailable")["detail"]
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["connection"] == "close"
        assert "Traceback" not in server.output


@pytest.mark.parametrize("roles", ["api", "worker", "api,sweeper"])
def test_roles_apart_are_refused_with_one_file(tmp_path: Path, roles: str) -> None:
    code, said = serve(tmp_path, "--roles", roles)
    assert code == 2
    assert "--roles" in said
    assert "SQLite" in said
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_named(tmp_path: Path, installed: Path) -> None:
    shutil.copytree(installed, tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = serve(tmp_path, RINGBACK_PORT=str(port))
    assert code == 5
    assert re.fullmatch(rf"ringback: Cannot listen on 127\.0\.0\.1:{port}: .+\n", said)
    assert "RINGBACK_PORT" in said


async def test_a_second_process_on_the_file_is_refused_and_the_first_goes_on(
    start_server: StartServer, receiver: Receiver
) -> None:
    server = start_server()
    for command in ("serve", "rekey"):
        settings = {"RINGBACK_PORT": str(free_port())}
        done = await asyncio.to_thread(ringback, server.folder, command, settings=settings)
        assert done.returncode == 5, command
        assert "Another Ringback process has" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    async with blackbox(server) as api:
        await api.subscribe(receiver.url("/"))
        await api.event("op-1", "STARTED")
        await receiver.wait_for(1)


def test_an_unknown_setting_is_refused_with_the_likely_one(tmp_path: Path) -> None:
    code, said = serve(tmp_path, RINGBACK_ALLOW_HTTPS="true", RINGBACK_PORT="many")
    assert code == 2
    assert "RINGBACK_ALLOW_HTTPS is not a setting; did you mean RINGBACK_ALLOW_HTTP?" in said
    assert "RINGBACK_PORT" in said
    assert list(tmp_path.iterdir()) == []


async def test_an_admin_key_of_ones_own(tmp_path: Path) -> None:
    own = "a-key-of-my-own-that-is-long-enough"
    with Server(tmp_path, {**LOCAL, "RINGBACK_ADMIN_KEY": own}) as server:
        assert server.admin_key == own
        async with blackbox(server) as api:
            await api.get("/v1/operations")
        assert not (tmp_path / "data" / "admin.key").exists()
        assert own not in server.output

        # another one later takes its place
        server.kill()
        server.settings = {**LOCAL, "RINGBACK_ADMIN_KEY": own[::-1]}
        await asyncio.to_thread(server.start)
        async with blackbox(server) as api:
            await api.get("/v1/operations")
            bearer = {"authorization": f"Bearer {own}"}
            assert (await api.http.get("/v1/operations", headers=bearer)).status_code == 401


def test_a_database_whose_keys_are_gone_is_left_alone(tmp_path: Path, installed: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(installed, data)
    (data / "encryption.keys").unlink()
    before = sorted(path.name for path in data.iterdir())

    code, said = serve(tmp_path)
    assert code == 2
    assert "encryption.keys" in said
    assert "RINGBACK_ENCRYPTION_KEYS" in said
    assert sorted(path.name for path in data.iterdir()) == before


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ringback.db").write_text("Notes of mine, not a database. " * 100)
    (data / "encryption.keys").write_text(K2)

    code, said = serve(tmp_path)
    assert code == 1
    assert len(said.splitlines()) == 1
    assert "ringback.db" in said
    assert (data / "ringback.db").read_text().startswith("Notes of mine")


async def test_after_rekey_the_old_key_can_be_dropped(
    start_server: StartServer, receiver: Receiver
) -> None:
    server = start_server()
    key = {"idempotency-key": "once"}
    body = {"url": receiver.url("/"), "headers": {"x-own": "theirs"}}
    async with blackbox(server) as api:
        made = await api.http.post("/v1/subscriptions", json=body, headers=key)
        rotated = await api.post(
            f"/v1/subscriptions/{made.json()['id']}/rotate-secret", {"overlapSeconds": 3600}, 200
        )
    assert server.stop() == 0
    keys = server.folder / "data" / "encryption.keys"
    both = f"{K2},{keys.read_text().strip()}"
    done = ringback(server.folder, "rekey", settings={"RINGBACK_ENCRYPTION_KEYS": both})
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"[1-9]\d* secrets now use the first key\n", done.stdout)
    again = ringback(server.folder, "rekey", settings={"RINGBACK_ENCRYPTION_KEYS": both})
    assert again.stdout == "0 secrets now use the first key\n"

    keys.unlink()
    server.settings = {**LOCAL, "RINGBACK_ENCRYPTION_KEYS": K2}
    await asyncio.to_thread(server.start)
    async with blackbox(server) as api:
        await api.event("op-1", "STARTED")
        (request,) = await receiver.wait_for(1)
        assert request.headers["x-own"] == "theirs"
        verify(made.json()["secret"], request)
        assert len(request.headers["webhook-signature"].split()) == 2
        shown = await api.get(f"/v1/subscriptions/{made.json()['id']}/secret")
        assert shown["secret"] == rotated["secret"]
        replayed = await api.http.post("/v1/subscriptions", json=body, headers=key)
        assert (replayed.status_code, replayed.content) == (201, made.content)


async def test_without_the_old_key_nothing_starts_and_nothing_changes(
    start_server: StartServer,
) -> None:
    server = start_server()
    async with blackbox(server) as api:
        made = await api.subscribe("http://127.0.0.1:9/")
        api.made.clear()
    assert server.stop() == 0
    for command in ("rekey", "serve"):
        done = ringback(server.folder, command, settings={"RINGBACK_ENCRYPTION_KEYS": K2})
        assert (done.returncode, done.stdout) == (2, "")
        assert "'k1'" in done.stderr
        assert "RINGBACK_ENCRYPTION_KEYS" in done.stderr

    server.start()
    async with blackbox(server) as api:
        shown = await api.get(f"/v1/subscriptions/{made['id']}/secret")
        assert shown["secret"] == made["secret"]


async def test_two_first_starts_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    """The keys that one made, and seals with, were overwritten by the other's."""
    servers = [Server(tmp_path, log_name=f"{n}.log") for n in range(2)]
    try:
        starts = [asyncio.to_thread(server.start) for server in servers]
        ends = await asyncio.gather(*starts, return_exceptions=True)
        (refused,) = [str(end) for end in ends if end is not None]
        assert "Another Ringback process has" in refused
        (server,) = [s for s, end in zip(servers, ends, strict=True) if end is None]
        assert server.admin_key in server.output
        async with blackbox(server) as api:
            await api.get("/v1/operations")
            made = await api.subscribe("http://127.0.0.1:9/")
            api.made.clear()
        await asyncio.to_thread(server.restart)
        async with blackbox(server) as api:
            shown = await api.get(f"/v1/subscriptions/{made['id']}/secret")
            assert shown["secret"] == made["secret"]
    finally:
        for each in servers:
            each.kill()


def test_migrate_makes_the_file_that_serve_uses(tmp_path: Path) -> None:
    first = ringback(tmp_path, "migrate")
    assert (first.returncode, first.stderr) == (0, "")
    assert re.fullmatch(r"data/ringback\.db is at schema revision \w+\n", first.stdout)
    before = (tmp_path / "data" / "ringback.db").read_bytes()
    again = ringback(tmp_path, "migrate")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert (tmp_path / "data" / "ringback.db").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_database_elsewhere_keeps_its_keys_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere" / "my.db"
    settings = {**LOCAL, "RINGBACK_DATABASE_URL": f"sqlite:///{place}"}
    with Server(tmp_path / "folder", settings):
        assert place.exists()
        assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["server.log"]
        for name in ("admin.key", "encryption.keys"):
            assert (place.parent / name).stat().st_mode & 0o777 == 0o600
