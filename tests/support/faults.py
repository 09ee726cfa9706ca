"""A network that fails on order, and a PostgreSQL behind it."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from service.lab.processes import free_port
from service.lab.servers import Postgres
from service.lab.torture.proxy import FaultProxy

#: The database of the server.
NAME: Final = "ringback"
#: Turns of the event loop in which both sides of a pair, one after the other, hear of its end.
_TURNS: Final = 5


@contextmanager
def postgres_on_a_port(folder: Path) -> Iterator[Postgres]:
    """A server that listens on a port, where a proxy can stand before it; with an empty database.

    It says what it says in ``folder``.
    """
    server = Postgres(folder / "postgres.log")
    server.install()
    try:
        server.start()
        server.create(NAME)
        yield server
    finally:
        server.remove()


@asynccontextmanager
async def fault_proxy(target: int) -> AsyncIterator[FaultProxy]:
    """A proxy before a port of this machine."""
    dice = random.Random(1)  # noqa: S311  repeatable, and guards nothing
    async with FaultProxy(free_port(), target, dice) as proxy:
        yield proxy
    for _ in range(_TURNS):
        await asyncio.sleep(0)
