"""The row about long polls: many clients wait for one operation, and all ask again at once."""

import asyncio
from statistics import median
from typing import Any, Final

from service.lab.bench import stamps
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.processes import cpu
from service.lab.bench.session import Session
from service.lab.bench.watchers import SPARE_FILES, allow_files

_OPERATION: Final = "polled"
#: Seconds from one event to the next: all are waiting again by then.
_EVERY: Final = 1.0


async def row(session: Session) -> Values:
    """One event answers them all; each asks for the next as soon as it has it."""
    count = session.sizes.watchers
    allow_files(count + SPARE_FILES)
    with session.service() as service:
        path = f"/v1/operations/{_OPERATION}/events"
        await service.post(path, {"type": "STARTED"})
        route = {**session.route(service), "path": path}
        await session.generator.ask("poll", route=route, connections=count)
        await asyncio.sleep(_EVERY)
        rounds = []
        before = cpu(service.api_pid).total
        for _ in range(session.sizes.rounds):
            posted = stamps.now()
            await service.post(path, {"type": "STATUS_UPDATE"})
            await asyncio.sleep(_EVERY)
            rounds.append(await _answered(session, posted, count))
        used = cpu(service.api_pid).total - before
    shares = {name: median(each[name] for each in rounds) for name in rounds[0]}
    return {**shares, "poll cpu": used * 1_000_000 / (count * session.sizes.rounds)}


async def _answered(session: Session, posted: int, count: int) -> dict[str, float]:
    """How long after the event was posted its answers came."""
    answer: dict[str, Any] = await session.generator.ask("polled", since=posted)
    if answer["answered"] != count or answer["refused"]:
        raise BenchError(f"Not every poll was answered once: {answer}")
    delays: dict[str, float] = answer["delays"]
    return delays
