"""Tenants: each with operations, subscriptions and keys that no other tenant sees."""

from dataclasses import dataclass
from typing import Final

from service.domain.subscription import Verification

#: The tenant that always exists; its keys may hold the scope ``admin``.
DEFAULT_TENANT: Final = "default"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant. Times are ms."""

    #: Its place in lists; it grows from tenant to tenant.
    no: int
    id: str
    name: str
    created_at: int
    #: That of new subscriptions which say nothing of it.
    verification: Verification = Verification.NONE
    #: Whose pages may embed its portal.
    portal_origins: tuple[str, ...] = ()
