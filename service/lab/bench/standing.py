"""Rows about a service that has nothing to do: its start, its processor time, its memory."""

import asyncio

from service.lab.bench.figures import Values
from service.lab.bench.hosting import Service
from service.lab.bench.session import Session
from service.lab.bench.throughput import memory_values


async def start(session: Session) -> Values:
    """From the start of the process until it says that it is ready."""
    folder = session.new_folder()
    service = Service(session.mode, folder)
    first = service.start().start_seconds
    service.stop()
    again = service.start().start_seconds
    service.stop()
    service.store.remove()
    return {"ready in": again, "first start": first}


async def idle(session: Session) -> Values:
    """A service with one subscription and nothing to do."""
    with session.service() as service:
        await service.subscribe(session.url())
        await asyncio.sleep(session.sizes.warm_seconds)
        before = session.look(service)
        await asyncio.sleep(session.sizes.idle_seconds)
        after = session.look(service)
        used = {name: after.cpu[name] - before.cpu[name] for name in service.pids}
        shares = {name: each / (after.at - before.at) * 100 for name, each in used.items()}
        parts = {f"{name} share": share for name, share in shares.items()}
        return {
            "cpu": sum(shares.values()),
            **(parts if len(parts) > 1 else {}),
            **memory_values(service),
        }
