"""Receivers for whose answer a client waits: to a test, or to whether it agrees to be sent to.

Each of them may hang for as long as one of a delivery. So few may be asked at a time: what hangs
takes no connections from deliveries.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.domain.errors import Refusal, RefusalKind

#: Receivers that may be asked at once: for one tenant, and for all.
_OF_TENANT: Final = 16
_IN_ALL: Final = 128
_BUSY_RETRY: Final = 1


class Asking:
    """Counts who is being asked, in this process."""

    def __init__(self) -> None:
        self._asking: Counter[str] = Counter()

    @contextmanager
    def one(self, tenant_id: str) -> Iterator[Refusal | None]:
        """Ask one more within this block; or why that would be too many."""
        if self._asking[tenant_id] >= _OF_TENANT or self._asking.total() >= _IN_ALL:
            yield _too_many()
            return
        self._asking[tenant_id] += 1
        try:
            yield None
        finally:
            self._asking[tenant_id] -= 1
            self._asking += Counter()  # forgets tenants without any


def _too_many() -> Refusal:
    return Refusal(
        RefusalKind.TOO_MANY_REQUESTS,
        "Too many receivers are being tested, or asked whether they agree, already. Repeat it a "
        "little later.",
        retry_after=_BUSY_RETRY,
    )
