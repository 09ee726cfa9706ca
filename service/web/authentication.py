"""Who asks, and for which tenant: a key or a stream's ticket, looked up by its hash.

A revoked key is dead at once, and its tickets with it: what is remembered of keys is forgotten when
one is changed (:class:`service.usecases.manage_keys.KeyUse`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import HTTPConnection

from service.domain.api_keys import Scope, covers, hash_key
from service.domain.errors import Refusal, RefusalKind, key_ended, not_found, unauthenticated
from service.ports import Principal, Ticket
from service.web import headers
from service.web.limiting import Guesses, RateLimits
from service.web.telling import WHO

FindKey = Callable[[bytes], Awaitable[Principal | None]]
Redeem = Callable[[str], Awaitable[Ticket | None]]
HasTenant = Callable[[str], Awaitable[bool]]

_HEADER: Final = b"authorization"
#: By which a key with the scope ``admin`` names the tenant it acts for.
_TENANT: Final = b"ringback-tenant"
_SCHEME: Final = "bearer"
#: The query parameter of a ticket.
TICKET: Final = "ticket"
#: What a ticket allows, to what it is bound to.
_TICKET_SCOPES: Final = frozenset({Scope.OPERATIONS_READ.value})


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Lets those in who may."""

    find_key: FindKey
    #: The same, for what is confirmed later: it may know a key by what was found a moment ago.
    presume_key: FindKey
    redeem: Redeem
    has_tenant: HasTenant
    limits: RateLimits
    guesses: Guesses

    async def admit(
        self,
        asked: HTTPConnection,
        needed: Scope,
        *,
        by_ticket: bool = False,
        is_confirmed: bool = False,
    ) -> Principal | Refusal:
        """The principal, if he may do what needs this scope; or what to do to be let in.

        Who asks is in the connection's scope as soon as that is known. ``is_confirmed``: that the
        key is in force is seen once more, by what it is for or by :meth:`confirm`.
        """
        text = asked.query_params.get(TICKET) if by_ticket else None
        if text is not None and not headers.values(asked.scope, _HEADER):
            principal = await self._by_ticket(asked, text)
        else:
            principal = await self._by_key(
                asked, self.presume_key if is_confirmed else self.find_key
            )
        if isinstance(principal, Refusal):
            return principal
        asked.scope[WHO] = principal
        refusal = self.limits.refuse(asked.scope, principal.key_id)
        if refusal is not None:
            return refusal
        allowed = await self._allowed(asked, principal, needed)
        if not isinstance(allowed, Refusal):
            return allowed
        return await self.confirm(principal) or allowed

    async def confirm(self, who: Principal) -> Refusal | None:
        """A refusal where the key of a principal is not in force any more."""
        if who.unconfirmed is None or await self.find_key(who.unconfirmed) is not None:
            return None
        return key_ended()

    async def admit_known(
        self, asked: HTTPConnection, digest: bytes, tenant_id: str | None
    ) -> Principal | Refusal:
        """The principal of a key that was shown before, by its hash, as this tenant if it may."""
        principal = await self.find_key(digest)
        if principal is None:
            return key_ended()
        asked.scope[WHO] = principal
        refusal = self.limits.refuse(asked.scope, principal.key_id)
        if refusal is not None or tenant_id is None:
            return refusal or principal
        return await self._as_tenant(principal, tenant_id)

    async def _by_key(self, asked: HTTPConnection, find: FindKey) -> Principal | Refusal:
        given = headers.values(asked.scope, _HEADER)
        if len(given) != 1:
            return unauthenticated("No API key came with the request" if not given else "Two came")
        scheme, _, key = given[0].partition(" ")
        if scheme.lower() != _SCHEME or not key.strip():
            return unauthenticated("The Authorization header does not hold a Bearer key")
        principal = await find(hash_key(key.strip()))
        if principal is None:
            refusal = unauthenticated("The API key is unknown, revoked or expired")
            return self.guesses.failed(asked.scope, refusal)
        return principal

    async def _by_ticket(self, asked: HTTPConnection, text: str) -> Principal | Refusal:
        ticket = await self.redeem(text)
        if ticket is None:
            refusal = Refusal(
                RefusalKind.UNAUTHENTICATED,
                "The ticket is unknown, was used too late or is too old, or its key is revoked. "
                "Ask for a new one: POST /v1/stream-tickets.",
            )
            return self.guesses.failed(asked.scope, refusal)
        who = ticket.principal
        if ticket.operation_id != asked.path_params.get("id"):
            asked.scope[WHO] = who
            opens = f"operation {ticket.operation_id!r}" if ticket.operation_id else "the feed"
            return Refusal(
                RefusalKind.FORBIDDEN,
                f"The ticket opens {opens} only. Ask for one for this: POST /v1/stream-tickets.",
            )
        return Principal(who.key_id, who.tenant_id, _TICKET_SCOPES)

    async def _allowed(
        self, asked: HTTPConnection, who: Principal, needed: Scope
    ) -> Principal | Refusal:
        """The principal that asks, if he may do what needs this scope as whom he names."""
        principal = await self._acting(asked, who)
        if isinstance(principal, Refusal):
            return principal
        asked.scope[WHO] = principal
        return authorize(principal, needed) or principal

    async def _acting(self, asked: HTTPConnection, who: Principal) -> Principal | Refusal:
        """The principal as the tenant that the request names, if he may act for it."""
        given = headers.values(asked.scope, _TENANT)
        if not given:
            return who
        return await self._as_tenant(who, ", ".join(given))

    async def _as_tenant(self, who: Principal, name: str) -> Principal | Refusal:
        if Scope.ADMIN not in who.scopes:
            return who if name == who.tenant_id else _foreign(name)
        if not await self.has_tenant(name):
            return not_found("tenant", name)
        return replace(who, tenant_id=name, named=True)


def authorize(principal: Principal, needed: Scope) -> Refusal | None:
    """Why the key may not do what needs this scope; ``None`` when it may."""
    if covers(principal.scopes, needed):
        return None
    return Refusal(
        RefusalKind.FORBIDDEN,
        f"This needs the scope {needed.value!r}, which the API key has not. Use a key that has it, "
        "or ask an administrator for one.",
        extra={"missingScope": needed.value},
    )


def _foreign(tenant_id: str) -> Refusal:
    return Refusal(
        RefusalKind.FORBIDDEN,
        f"The API key may not act for tenant {tenant_id!r}. Leave the header Ringback-Tenant out, "
        f"or use a key with the scope {Scope.ADMIN.value!r}.",
        extra={"missingScope": Scope.ADMIN.value},
    )
