"""Rows about a service that has nothing to do: its start, its processor time, its memory."""

import asyncio
import time

from service.lab.bench.figures import Values
from service.lab.bench.hosting import Service
from service.lab.bench.processes import cpu, memory
from service.lab.bench.session import Session


async def start(session: Session) -> Values:
    """From the start of the process until it says that it is ready."""
    folder = session.new_folder()
    service = Service(session.mode, folder)
    first = service.start().start_seconds
    service.stop()
    again = service.start().start_seconds
    service.stop()
    return {"ready in": again, "first start": first}


async def idle(session: Session) -> Values:
    """A service with one subscription and nothing to do."""
    with session.service() as service:
        await service.subscribe(session.url())
        await asyncio.sleep(session.sizes.warm_seconds)
        pids = [pid for some in service.pids.values() for pid in some]
        before, began = sum(cpu(pid).total for pid in pids), time.monotonic()
        await asyncio.sleep(session.sizes.idle_seconds)
        used = sum(cpu(pid).total for pid in pids) - before
        return {
            "cpu": used / (time.monotonic() - began) * 100,
            "memory": sum(map(memory, pids)) / 1024,
        }
