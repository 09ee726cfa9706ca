"""Rows about time: from publish to receipt at fixed rates, and one event for many."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, Final

from service.lab.bench import stamps
from service.lab.bench.board import Slot
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.hosting import Service
from service.lab.bench.measuring import Window
from service.lab.bench.session import Session, check_answers

_CONNECTIONS: Final = 64
#: Share of what is offered that has to be taken, or the times are those of another rate.
_ENOUGH: Final = 0.98
_SUBSCRIPTIONS: Final = 1_000
_TOGETHER: Final = 50
_WIDE_TYPE: Final = "fan.out"


def at_rate(rate: int) -> Callable[[Session], Awaitable[Values]]:
    """The row of one offered rate."""

    async def row(session: Session) -> Values:
        with session.service() as service:
            return await _paced(session, service, rate)

    return row


async def _paced(session: Session, service: Service, rate: int) -> Values:
    await service.subscribe(session.url())
    start = session.board[Slot.RECEIVED]
    await session.empty()
    await session.generator.ask(
        "open", route=session.route(service), connections=_CONNECTIONS, rate=rate
    )
    await asyncio.sleep(session.sizes.warm_seconds)
    await session.empty()
    before = session.look(service)
    await asyncio.sleep(session.sizes.paced_seconds)
    window = Window(before, session.look(service))
    answer = await session.generator.ask("stop")
    check_answers(answer["statuses"])
    await session.received(start + answer["posted"])
    if window.rate(Slot.POSTED) < rate * _ENOUGH:
        raise BenchError(f"Only {window.rate(Slot.POSTED):.0f} of {rate} events/s were posted.")
    report = await session.receiver.ask("report")
    return {
        **report["delays"],
        **{f"generator late {name}": ms for name, ms in answer["late"].items()},
        **session.cpu_values(window, service.pids, Slot.RECEIVED),
        "statements each": window.each(Slot.WORK, Slot.RECEIVED),
        "commits each": window.each(Slot.COMMITS, Slot.RECEIVED),
    }


async def fan_out(session: Session) -> Values:
    """One event that 1,000 subscriptions want: until it is accepted, until all have it."""
    with session.service() as service:
        await _subscribe_all(session, service)
        rounds = [await _round(session, service) for _ in range(session.sizes.rounds + 1)]
    # the first opens the connections
    accepted, delivered = zip(*rounds[1:], strict=True)
    return {
        "accepted in": median(accepted),
        "delivered in": median(delivered),
        "first accepted in": rounds[0][0],
        "first delivered in": rounds[0][1],
    }


async def _subscribe_all(session: Session, service: Service) -> None:
    gate = asyncio.Semaphore(_TOGETHER)

    async with service.client() as client:

        async def one(number: int) -> None:
            body: dict[str, Any] = {"url": session.url(f"/{number}"), "eventTypes": [_WIDE_TYPE]}
            async with gate:
                (await client.post("/v1/subscriptions", json=body)).raise_for_status()

        await asyncio.gather(*map(one, range(_SUBSCRIPTIONS)))


async def _round(session: Session, service: Service) -> tuple[float, float]:
    """Milliseconds until one event was accepted, and until all had it."""
    await session.empty()
    start = session.board[Slot.RECEIVED]
    body = {"operationId": "wide", "type": _WIDE_TYPE, "data": {"rest": "x" * stamps.EVENT_BYTES}}
    async with service.client() as client:
        await client.get("/livez")  # the connection is made by now
        begun, began = stamps.now(), time.perf_counter()
        answer = await client.post("/v1/events", json=body)
        accepted = (time.perf_counter() - began) * 1000
    answer.raise_for_status()
    await session.received(start + _SUBSCRIPTIONS)
    report = await session.receiver.ask("report")
    return accepted, (report["last_at"] - begun) / 1000
