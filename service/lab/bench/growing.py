"""Rows about a store that has seen much, and about one that has much to do."""

import asyncio
import time
from pathlib import Path
from typing import Final

from service.lab.bench import filling
from service.lab.bench.board import Slot
from service.lab.bench.databases import Shape, fill
from service.lab.bench.figures import Values
from service.lab.bench.hosting import running
from service.lab.bench.measuring import Window
from service.lab.bench.session import Session
from service.lab.bench.storing import check_recorded
from service.lab.bench.throughput import delivering

#: How long ago it all began: long enough for all of it, and well within retention.
_AGO_MS: Final = 2 * 3600 * 1000
#: Shares of the backlog between which its drain is measured: its start and its end are slower.
_FROM: Final = 0.1
_TO: Final = 0.9


async def growth(session: Session) -> Values:
    """Deliveries again, in a store that holds many; against those in an empty one."""
    folder, _ = await _prepared(session, filling.history, session.sizes.history)
    with session.service(folder) as service:
        window = (await delivering(session, service)).window
        own = session.cpu_values(window, service.pids, Slot.RECEIVED)
    empty = session.found["deliveries"]
    return {
        "cpu ratio": own["service cpu"] / empty["service cpu"],
        "prepared": session.sizes.history,
        "rate": window.rate(Slot.RECEIVED),
        **own,
    }


async def backlog(session: Session) -> Values:
    """A service that starts with many deliveries due; against the steady rate."""
    count = session.sizes.backlog
    folder, since = await _prepared(session, filling.backlog, count)
    await session.empty()
    start = session.board[Slot.RECEIVED]
    with session.service(folder) as service:
        await session.received(start + round(count * _FROM))
        before = session.look(service)
        await session.received(start + round(count * _TO))
        window = Window(before, session.look(service))
        await session.received(start + count)
        await check_recorded(service.store, since, count)
        own = session.cpu_values(window, service.pids, Slot.RECEIVED)
    rate = window.rate(Slot.RECEIVED)
    return {
        "ratio": rate / session.found["deliveries"]["rate"],
        "drained": count,
        "rate": rate,
        **own,
        "statements each": window.each(Slot.WORK, Slot.RECEIVED),
        "commits each": window.each(Slot.COMMITS, Slot.RECEIVED),
    }


async def _prepared(session: Session, shape: Shape, count: int) -> tuple[Path, int]:
    """A service's folder with a subscription and so many events, and when the first of them was."""
    folder = session.copy_of_installed()
    with running(session.mode, folder) as service:
        await service.subscribe(session.url())
    since = time.time_ns() // 1_000_000 - _AGO_MS
    await asyncio.to_thread(fill, service.store, shape, count, since)
    return folder, since
