"""The composition root: what the command line starts. Only this room sees every other one."""

import os
import sys
from collections.abc import Callable
from typing import Final

from service.ports.pruning import Past
from service.runtime import keys, pruning, storage, tracing
from service.runtime.hosting import Part, host, run
from service.runtime.wiring import Outside, open_service
from service.settings import Settings, check_roles
from service.telemetry import configure_logging

#: Seconds a thread may keep the interpreter while another waits. The event loop waits for the
#: database's thread many times a second; with Python's 5 ms a busy neighbour makes each wait long.
_SWITCH_INTERVAL: Final = 0.0005


def serve(
    settings: Settings,
    roles: frozenset[str],
    status_port: int | None = None,
    *,
    outside: Outside | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; ``status_port`` is as in :class:`Part`.

    Without an ``outside`` that is given the world is as it is, with spans where the environment
    asks for them.

    Raises:
        SettingsError: the settings and the roles do not go together.
        OSError: the address cannot be listened on.
        StoreUnavailableError: the database cannot be opened, or is another process's alone.
    """
    check_roles(settings, roles)
    configure_logging()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    run(_serve(settings, Part(roles, status_port), outside))


async def _serve(settings: Settings, part: Part, given: Outside | None) -> None:
    async with (
        storage.placed(settings),
        tracing.traced({} if given else os.environ) as world,
        open_service(settings, part.roles, given or world) as opened,
    ):
        await host(opened, part)


def migrate(settings: Settings) -> str:
    """Bring the schema up to date; what was done, in a sentence."""
    return run(storage.migrate(settings))


def rekey(settings: Settings) -> int:
    """Seal again, with the first key, whatever another key sealed; how many values that were."""
    return run(_rekey(settings))


async def _rekey(settings: Settings) -> int:
    async with open_service(settings) as opened:
        return await opened.stores.manage.reseal(keys.resealer(opened.base.vault))


def prune(
    settings: Settings,
    retention: int | None,
    agreed: pruning.Agreed,
    told: Callable[[int], None],
) -> tuple[Past, Past]:
    """Delete what is past its time. See :func:`service.runtime.pruning.prune`."""
    return run(pruning.prune(settings, retention, agreed, told))
