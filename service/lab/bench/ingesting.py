"""Rows about taking events that nobody wants: parsing, judging, committing."""

import asyncio
from typing import Final

from service.lab.bench.board import Slot
from service.lab.bench.figures import Values
from service.lab.bench.measuring import Window
from service.lab.bench.session import Session, check_answers

_CONNECTIONS: Final = 64
_BATCH: Final = 100
_BATCH_CONNECTIONS: Final = 8


async def single(session: Session) -> Values:
    """One event a request."""
    return await _ingest(session, _CONNECTIONS, 1)


async def batches(session: Session) -> Values:
    """A hundred events a request."""
    return await _ingest(session, _BATCH_CONNECTIONS, _BATCH)


async def _ingest(session: Session, connections: int, batch: int) -> Values:
    with session.service() as service:
        route = session.route(service, batch)
        await session.generator.ask("closed", route=route, connections=connections, window=0)
        await asyncio.sleep(session.sizes.warm_seconds)
        before = session.look(service)
        await asyncio.sleep(session.sizes.seconds)
        window = Window(before, session.look(service))
        answer = await session.generator.ask("stop")
        check_answers(answer["statuses"])
        return {
            "rate": window.rate(Slot.ACCEPTED),
            **session.cpu_values(window, service.pids, Slot.ACCEPTED),
            "statements each": window.each(Slot.WORK, Slot.ACCEPTED),
            "commits each": window.each(Slot.COMMITS, Slot.ACCEPTED),
            **answer["answered"],
        }
