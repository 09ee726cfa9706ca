"""What a process does, and which settings let several processes share the work."""

from collections.abc import Iterator
from typing import Final

from service.settings.loading import SettingsError
from service.settings.model import Settings

#: What a process may do: answer the API, send deliveries, keep the store in order.
ROLES: Final = frozenset({"api", "worker", "sweeper"})


def check_roles(settings: Settings, roles: frozenset[str]) -> None:
    """Make sure that a process of these roles can work with others as its settings say.

    Raises:
        SettingsError: it would do less than it seems to.
    """
    faults = tuple(_faults(settings, roles))
    if faults:
        raise SettingsError(faults)


def _faults(settings: Settings, roles: frozenset[str]) -> Iterator[str]:
    if roles == ROLES:
        return
    if settings.is_embedded:
        yield (
            "--roles: one SQLite file serves one process, which has to do everything; "
            "leave it out, or name all of api, worker and sweeper."
        )
    elif not settings.redis_url:
        yield (
            "RINGBACK_REDIS_URL: without it wakes and notes stay inside a process, and --roles "
            f"{','.join(sorted(roles))} needs others; give the redis:// URL that all of them have."
        )
