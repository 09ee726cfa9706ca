"""The broker over Redis: bounded, shared by processes, quick when idle, and unharmed by Redis."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest
import redis
from dramatiq import Message

from service.broker import QUEUE, BrokerWaker, make_broker
from service.broker import waker as waking
from service.broker.on_loop import LENGTH
from tests.broker.idle_wakes import ours
from tests.broker.working import PATIENCE, working
from tests.support.lateness import own_time
from tests.support.server import ROOT, environment, free_port
from tests.support.valkey import FAULTS, Valkey, client, namespace

pytestmark = pytest.mark.anyio


@contextmanager
def worker_process(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that works on the same queue."""
    command = [sys.executable, "-m", "tests.broker.worker_process", url, name]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment({}), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> list[int]:
    """What a process has said by the time it was killed."""
    process.kill()
    assert process.stdout is not None
    return [int(lane) for line in process.stdout for lane in line.split()]


async def test_an_idle_worker_hears_of_a_wake_at_once(redis_url: str) -> None:
    # Dramatiq's own consumer takes 90 ms and more: it asks ever more rarely
    assert median(await ours(redis_url, 20, 0.3)) < 0.03


async def test_each_wake_goes_to_one_of_the_processes(redis_url: str) -> None:
    name = namespace()
    broker = make_broker(redis_url, namespace=name)
    waker = BrokerWaker(broker)
    with worker_process(redis_url, name) as one, worker_process(redis_url, name) as other:
        for lane in range(200):
            waker.wake([lane])
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(PATIENCE):
            lanes = await asyncio.to_thread(lambda: heard(one) + heard(other))
    assert len(lanes) == len(set(lanes))
    # what a worker had taken and not begun when it was killed is lost, and no more than that
    assert len(lanes) >= 190
    await waker.close()
    await broker.disconnect()


async def test_a_queue_is_bounded_and_nothing_else_is_kept(valkey: Valkey) -> None:
    broker = make_broker(valkey.url, namespace="few")
    for number in range(LENGTH + 50):
        broker.enqueue(
            Message(queue_name=QUEUE, actor_name="x", args=(number,), kwargs={}, options={})
        )
        await broker.sent()
    with client(valkey.url) as seen:
        assert seen.keys() == [b"few:lanes"]
        assert seen.llen("few:lanes") == LENGTH
        (last,) = seen.lrange("few:lanes", -1, -1)
        assert Message.decode(bytes(last)).args == (LENGTH + 49,)
    await broker.disconnect()


async def test_work_leaves_nothing_behind(valkey: Valkey) -> None:
    async with working(valkey.url) as made:
        for lane in range(20):
            made.waker.wake([lane])
            await made.recorder.wait_for({lane})
        with client(valkey.url) as seen:
            assert seen.keys() == []


async def test_what_is_no_message_is_left_out(valkey: Valkey) -> None:
    async with working(valkey.url) as made:
        with client(valkey.url) as other:
            for junk in (b"", b"junk", b"[]", b'{"queue_name":1}'):
                other.rpush("ringback:lanes", junk)
        await made.woken(1)
    assert made.recorder.lanes == {1}


@pytest.mark.parametrize("fault", FAULTS)
async def test_who_wakes_notices_nothing_and_wakes_arrive_afterwards(
    valkey: Valkey, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(valkey.url) as made:
        await made.woken(1)
        valkey.suffer(fault)
        longest = 0.0
        for lane in range(10, 60):
            begun = own_time()
            made.waker.wake([lane])
            longest = max(longest, own_time() - begun)
            await asyncio.sleep(0.02)
        valkey.recover(fault)
        await made.woken(2)
    # neither a time-out (250 ms) nor a call over the network is waited for
    assert longest < 0.1
    said = [record.message for record in caplog.records]
    told = [text for text in said if "Wakes are not sent" in text]
    assert len(told) == (0 if fault == "flushed" else 1), said
    assert len(said) <= 4, said


async def test_the_first_wake_after_redis_was_restarted_arrives(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    broker = make_broker(valkey.url)
    waker = BrokerWaker(broker)
    waker.wake([1])
    await asyncio.sleep(0.1)
    valkey.kill()
    valkey.start()
    await asyncio.sleep(0.1)  # idle: what it closed is found when it is used again

    waker.wake([2])
    await asyncio.sleep(0.1)

    with client(valkey.url) as seen:
        (sent,) = seen.lrange("ringback:lanes", 0, -1)
    assert Message.decode(bytes(sent)).args == ([2],)
    assert caplog.records == []
    await waker.close()
    await broker.disconnect()


async def test_a_connection_that_only_reads_is_left(valkey: Valkey) -> None:
    broker = make_broker(valkey.url)
    waker = BrokerWaker(broker)
    with client(valkey.url) as seen:
        waker.wake([1])
        await asyncio.sleep(0.1)
        seen.execute_command("REPLICAOF", "127.0.0.1", "1")
        before = len(seen.client_list())
        waker.wake([2])
        await asyncio.sleep(0.1)
        assert len(seen.client_list()) == before - 1
    await waker.close()
    await broker.disconnect()


async def test_wakes_pass_to_whom_redis_knows_by_a_password(valkey: Valkey) -> None:
    with client(valkey.url) as other:
        other.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "allkeys", "+@all")
    url = valkey.url.replace("//", "//worker:secret@").removesuffix("0") + "3"
    async with working(url) as made:
        await made.woken(1)


async def test_it_starts_before_redis_does() -> None:
    server = Valkey(free_port())
    async with working(server.url) as made:
        made.waker.wake([1])
        with server:
            await made.woken(2)


async def test_it_stops_soon_while_redis_does_not_answer(valkey: Valkey) -> None:
    async with working(valkey.url) as made:
        await made.woken(1)
        valkey.pause()
        made.waker.wake([2])
        begun = time.monotonic()
    assert time.monotonic() - begun < 5.0


async def test_redis_that_takes_nothing_more_is_a_lost_wake(valkey: Valkey) -> None:
    async with working(valkey.url) as made:
        with client(valkey.url) as other:
            other.config_set("maxmemory", 1)
            made.waker.wake([1])
            with pytest.raises(redis.RedisError):
                other.set("x", "y")
            other.config_set("maxmemory", 0)
        await made.woken(2)


async def test_lanes_that_wait_for_redis_are_bounded(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "_MOST", 1_000)
    broker = make_broker(valkey.url)
    waker = BrokerWaker(broker)
    valkey.pause()
    waker.wake([1])
    await asyncio.sleep(0.05)  # from then on it waits for an answer
    for turn in range(50):
        waker.wake(range(turn * 100, turn * 100 + 100))
    assert len(vars(waker)["_lanes"]) == 1_000
    await waker.close()
    await broker.disconnect()
