"""What this process is at, and who else works with its database, as people are shown it."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from service import console
from service.ports import StoreUnavailableError
from service.runtime import storage
from service.settings import ROLES

if TYPE_CHECKING:
    from service.runtime.wiring import Opened
    from service.store.checkup import Server

#: Libraries whose versions are asked for first when something is odd.
_LIBRARIES: Final = ("dramatiq", "SQLAlchemy", "starlette", "aiohttp", "msgspec")


async def at_work(opened: "Opened") -> console.Work:
    """Both; who else works is only known to a server."""
    base = opened.base
    try:
        state = await storage.state(base.settings, base.clock)
        server, revision = state.server, state.revision
    except StoreUnavailableError:
        server, revision = None, None
    ages = {"sweeper": opened.sweep.age, "worker": opened.feeding.age}
    alone = base.settings.is_embedded
    parts = tuple(
        console.Part(
            role, role in opened.roles, _anywhere(role, server, alone=alone), ages.get(role)
        )
        for role in sorted(ROLES)
    )
    deliver = opened.deliver
    return console.Work(
        parts=parts,
        processes=_processes(server, alone=alone),
        revision=revision,
        server=None if server is None else f"PostgreSQL {server.version // 10_000}",
        in_flight=deliver.in_flight,
        slots=deliver.in_flight + deliver.free,
        followers=opened.watch.followers,
        lookers=opened.looks.lookers,
        expired_leases=opened.sweep.expired_leases,
    )


def _processes(server: "Server | None", *, alone: bool) -> int | None:
    if alone:
        return 1
    return None if server is None else server.processes


def libraries() -> tuple[tuple[str, str], ...]:
    """Names and versions of what the service is built on."""
    return tuple((name, version(name)) for name in _LIBRARIES)


def _anywhere(role: str, server: "Server | None", *, alone: bool) -> bool | None:
    """Whether any process has the role; ``None``: nobody can say."""
    if alone:
        return True
    if server is None or server.roles is None:
        return None
    return role in server.roles
