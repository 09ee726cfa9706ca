"""Rows about as much as is possible: the tools alone, deliveries, and what they compare to."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from service.lab.bench import tools
from service.lab.bench.board import Slot
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.hosting import Service
from service.lab.bench.measuring import Look, Pids, Window, look
from service.lab.bench.processes import (
    HOST,
    family,
    free_port,
    memory,
    own_memory,
    spawn,
    stop,
)
from service.lab.bench.session import Session, check_answers
from service.lab.bench.storing import check_recorded

if TYPE_CHECKING:
    import subprocess

_CONNECTIONS: Final = 64
#: Events in a request of a producer that gathers them, and the connections of such producers.
_BATCH: Final = 100
_BATCH_CONNECTIONS: Final = 8
#: Events that may be under way: the load is to be steady, not a growing backlog.
_WINDOW: Final = 2_000
#: The naive design takes fewer before it falls behind.
_NAIVE_CONNECTIONS: Final = 16
_NAIVE_WINDOW: Final = 300
_SLOW_SYNC_MS: Final = 2.0
_LINGER_SECONDS: Final = 0.05
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
    return await _sustained(session, 1)


async def deliveries_of_batches(session: Session) -> Values:
    """The same with a hundred events a request."""
    return await _sustained(session, _BATCH)


async def _sustained(session: Session, batch: int) -> Values:
    with session.service() as service:
        await service.subscribe(session.url())
        steady = await delivering(session, service, batch=batch)
        window = steady.window
        return {
            "rate": window.rate(Slot.RECEIVED),
            **session.cpu_values(window, service.pids, Slot.RECEIVED),
            "statements each": window.each(Slot.WORK, Slot.RECEIVED),
            "all statements each": window.each(Slot.STATEMENTS, Slot.RECEIVED),
            "commits each": window.each(Slot.COMMITS, Slot.RECEIVED),
            **steady.delays,
            **memory_values(service),
        }


def memory_values(service: Service) -> dict[str, float]:
    """MB of the service's own processes, at most so far, and of its servers, now."""
    own = sum(memory(pid, "VmHWM") for pids in service.own_pids.values() for pid in pids) / 1024
    servers = {f"{n} memory": own_memory(pids) for n, pids in service.server_pids.items()}
    return {"memory": own, **servers}


async def delivering(session: Session, service: Service, types: int = 1, batch: int = 1) -> Steady:
    """Drive a service steadily that has one subscription, or one for each of so many types.

    Every event is delivered and recorded once, or this is no figure.

    Raises:
        BenchError: it was not.
    """
    since = time.time_ns() // 1_000_000
    before = session.look(service)
    window = await _driven(session, session.route(service, batch, types=types), service)
    answer = await session.generator.ask("stop")
    check_answers(answer["statuses"])
    await session.received(before.counts[Slot.RECEIVED] + answer["posted"])
    if session.board[Slot.DOUBLED] != before.counts[Slot.DOUBLED]:
        raise BenchError("Deliveries came twice, though nothing failed.")
    await check_recorded(service.store, since, answer["posted"])
    return Steady(window, (await session.receiver.ask("report"))["delays"])


async def _driven(session: Session, route: Mapping[str, Any], service: Service) -> Window:
    sizes = session.sizes
    await session.empty()
    connections = _CONNECTIONS if route["batch"] == 1 else _BATCH_CONNECTIONS
    await session.generator.ask("closed", route=route, connections=connections, window=_WINDOW)
    await asyncio.sleep(sizes.warm_seconds)
    await session.empty()
    before = session.look(service)
    await asyncio.sleep(sizes.seconds / 2)
    if service.mode.servers:  # what the server would put off until after the figures are taken
        await asyncio.to_thread(service.store.tidy)
    await asyncio.sleep(max(before.at + sizes.seconds - time.monotonic(), 0))
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


async def two_workers(session: Session) -> Values:
    """A receiver that takes its time, so that sends in flight are what is scarce: 2 against 1."""
    await session.receiver.ask("linger", seconds=_LINGER_SECONDS)
    try:
        rates = {}
        for count in (1, 2):
            with session.service(workers=count) as service:
                await service.subscribe(session.url())
                rates[count] = (await delivering(session, service)).window.rate(Slot.RECEIVED)
    finally:
        await session.receiver.ask("linger", seconds=0.0)
    return {"ratio": rates[2] / rates[1], "rate": rates[2], "rate of one": rates[1]}


async def bare(session: Session) -> Values:
    """A bare aiohttp client, which stores nothing: deliveries against that."""
    async with tools.started("bare", str(session.folder / "board")) as client:
        await session.empty()
        await client.ask("start", url=session.url(), connections=_CONNECTIONS)
        await asyncio.sleep(session.sizes.warm_seconds)
        before = _look_at(session, {"bare": (client.pid,)})
        await asyncio.sleep(session.sizes.seconds)
        window = Window(before, _look_at(session, {"bare": (client.pid,)}))
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
    with _naive(session) as (pids, port):
        route: dict[str, Any] = {"port": port, "key": "none"}
        await session.empty()
        start = session.board[Slot.RECEIVED]
        await session.generator.ask(
            "closed", route=route, connections=_NAIVE_CONNECTIONS, window=_NAIVE_WINDOW
        )
        await asyncio.sleep(session.sizes.warm_seconds)
        before = _look_at(session, pids())
        await asyncio.sleep(session.sizes.seconds)
        window = Window(before, _look_at(session, pids()))
        answer = await session.generator.ask("stop")
        check_answers(answer["statuses"])
        await session.received(start + answer["posted"])
    rate = window.rate(Slot.RECEIVED)
    return {
        "ratio": session.found["deliveries"]["rate"] / rate,
        "rate": rate,
        "naive cpu": sum(window.micros(name, Slot.RECEIVED) for name in pids()),
    }


def _look_at(session: Session, pids: Pids) -> Look:
    return look({**pids, **session.tool_pids}, session.board)


@contextmanager
def _naive(session: Session) -> Iterator[tuple[Callable[[], Pids], int]]:
    """The naive design's processes, its servers' included, and its port."""
    folder, port = session.new_folder(), free_port()
    stores = session.mode.naive or (str(folder / "naive.db"),)
    log = folder / "naive.log"
    running: dict[str, subprocess.Popen[bytes]] = {}

    def pids() -> Pids:
        servers = {name: family(pid) for name, pid in session.mode.servers.items()}
        return {**{name: (each.pid,) for name, each in running.items()}, **servers}

    with ExitStack() as ending:
        for roles in ("api", "worker") if session.mode.naive else ("api,worker",):
            arguments = (f"{__package__}.naive", str(port), session.url(), roles, *stores)
            running[f"naive {roles}"] = process = spawn(arguments, folder, {}, log)
            ending.callback(stop, process)
        end = time.monotonic() + _READY_SECONDS
        while not _answers(port):
            is_over = any(each.poll() is not None for each in running.values())
            if is_over or time.monotonic() > end:
                words = log.read_text(errors="replace")[-1000:]
                raise BenchError(f"The naive design did not start:\n{words}")
            time.sleep(0.05)
        yield pids, port


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False
