"""Rows about as much as is possible: the tools alone, deliveries, and what they compare to."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from service.lab.bench import tools
from service.lab.bench.board import Slot
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.hosting import Service
from service.lab.bench.measuring import Look, Window, look
from service.lab.bench.processes import HOST, free_port, memory, spawn, stop
from service.lab.bench.session import Session, check_answers
from service.lab.bench.storing import check_recorded

_CONNECTIONS: Final = 64
#: Events that may be under way: the load is to be steady, not a growing backlog.
_WINDOW: Final = 2_000
#: The naive design takes fewer before it falls behind.
_NAIVE_CONNECTIONS: Final = 16
_NAIVE_WINDOW: Final = 300
_SLOW_SYNC_MS: Final = 2.0
_READY_SECONDS: Final = 20.0
_TOOLS_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Steady:
    """What a steady load came to."""

    window: Window
    #: Shares of the times from publish to receipt, in ms.
    delays: Mapping[str, float]


async def tools_alone(session: Session) -> Values:
    """The generator posting straight to the receiver: what the two are good for."""
    route = {"port": session.port, "key": "none"}
    await session.empty()
    await session.generator.ask("closed", route=route, connections=_CONNECTIONS, window=0)
    before = look(session.tool_pids, session.board)
    await asyncio.sleep(min(session.sizes.seconds, _TOOLS_SECONDS))
    window = Window(before, look(session.tool_pids, session.board))
    answer = await session.generator.ask("stop")
    check_answers(answer["statuses"], "200")
    each = {f"{n} cpu": window.micros(n, Slot.RECEIVED) for n in session.tool_pids}
    return {"rate": window.rate(Slot.RECEIVED), **each}


async def deliveries(session: Session) -> Values:
    """Single events posted, delivered and recorded, as many as are taken."""
    with session.service() as service:
        await service.subscribe(session.url())
        steady = await delivering(session, service)
        peak = sum(memory(pid, "VmHWM") for pids in service.pids.values() for pid in pids) / 1024
        window = steady.window
        return {
            "rate": window.rate(Slot.RECEIVED),
            **session.cpu_values(window, service.pids, Slot.RECEIVED),
            "statements each": window.each(Slot.WORK, Slot.RECEIVED),
            "all statements each": window.each(Slot.STATEMENTS, Slot.RECEIVED),
            "commits each": window.each(Slot.COMMITS, Slot.RECEIVED),
            **steady.delays,
            "memory": peak,
        }


async def delivering(session: Session, service: Service) -> Steady:
    """Drive a service that has one subscription steadily.

    Every event is delivered and recorded once, or this is no figure.

    Raises:
        BenchError: it was not.
    """
    since = time.time_ns() // 1_000_000
    before = session.look(service)
    window = await _driven(session, service)
    answer = await session.generator.ask("stop")
    check_answers(answer["statuses"])
    await session.received(before.counts[Slot.RECEIVED] + answer["posted"])
    if session.board[Slot.DOUBLED] != before.counts[Slot.DOUBLED]:
        raise BenchError("Deliveries came twice, though nothing failed.")
    await check_recorded(service.database, since, answer["posted"])
    return Steady(window, (await session.receiver.ask("report"))["delays"])


async def _driven(session: Session, service: Service) -> Window:
    sizes = session.sizes
    await session.empty()
    await session.generator.ask(
        "closed", route=session.route(service), connections=_CONNECTIONS, window=_WINDOW
    )
    await asyncio.sleep(sizes.warm_seconds)
    await session.empty()
    before = session.look(service)
    await asyncio.sleep(sizes.seconds)
    return Window(before, session.look(service))


async def slow_disk(session: Session) -> Values:
    """Deliveries again, with each commit's fsync taking 2 ms longer than the disk's own."""
    with session.service(sync_ms=_SLOW_SYNC_MS) as service:
        await service.subscribe(session.url())
        window = (await delivering(session, service)).window
        rate = window.rate(Slot.RECEIVED)
        return {
            "ratio": rate / session.found["deliveries"]["rate"],
            "rate": rate,
            **session.cpu_values(window, service.pids, Slot.RECEIVED),
            "commits each": window.each(Slot.COMMITS, Slot.RECEIVED),
        }


async def bare(session: Session) -> Values:
    """A bare aiohttp client, which stores nothing: deliveries against that."""
    async with tools.started("bare", str(session.folder / "board")) as client:
        await session.empty()
        await client.ask("start", url=session.url(), connections=_CONNECTIONS)
        await asyncio.sleep(session.sizes.warm_seconds)
        before = _look_at(session, "bare", client.pid)
        await asyncio.sleep(session.sizes.seconds)
        window = Window(before, _look_at(session, "bare", client.pid))
        await client.ask("stop")
    rate = window.rate(Slot.RECEIVED)
    return {
        "ratio": session.found["deliveries"]["rate"] / rate,
        "rate": rate,
        "bare cpu": window.micros("bare", Slot.RECEIVED),
        "receiver cpu": window.micros("receiver", Slot.RECEIVED),
    }


async def naive(session: Session) -> Values:
    """The naive design under the same load: deliveries against that."""
    with _naive(session) as (pid, port):
        route: dict[str, Any] = {"port": port, "key": "none"}
        await session.empty()
        before = _look_at(session, "naive", pid)
        start = before.counts[Slot.RECEIVED]
        await session.generator.ask(
            "closed", route=route, connections=_NAIVE_CONNECTIONS, window=_NAIVE_WINDOW
        )
        await asyncio.sleep(session.sizes.warm_seconds)
        before = _look_at(session, "naive", pid)
        await asyncio.sleep(session.sizes.seconds)
        window = Window(before, _look_at(session, "naive", pid))
        answer = await session.generator.ask("stop")
        check_answers(answer["statuses"])
        await session.received(start + answer["posted"])
    rate = window.rate(Slot.RECEIVED)
    return {
        "ratio": session.found["deliveries"]["rate"] / rate,
        "rate": rate,
        "naive cpu": window.micros("naive", Slot.RECEIVED),
    }


def _look_at(session: Session, name: str, pid: int) -> Look:
    return look({name: (pid,), **session.tool_pids}, session.board)


@contextmanager
def _naive(session: Session) -> Iterator[tuple[int, int]]:
    """The naive design's process id and port."""
    folder, port = session.new_folder(), free_port()
    arguments = (f"{__package__}.naive", str(port), str(folder), session.url())
    process = spawn(arguments, folder, {}, folder / "naive.log")
    try:
        end = time.monotonic() + _READY_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                words = (folder / "naive.log").read_text(errors="replace")[-1000:]
                raise BenchError(f"The naive design did not start:\n{words}")
            time.sleep(0.05)
        yield process.pid, port
    finally:
        stop(process)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False
