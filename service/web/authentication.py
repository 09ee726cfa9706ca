"""Who asks: ``Authorization: Bearer <key>``, or a stream's ``?ticket=``, looked up by its hash.

Every request is looked up anew, so that a revoked key is dead at once, and its tickets with it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection

from service.domain.api_keys import Scope, covers, hash_key
from service.domain.errors import Refusal, RefusalKind
from service.ports import Principal, Ticket

FindKey = Callable[[bytes], Awaitable[Principal | None]]
Redeem = Callable[[str], Awaitable[Ticket | None]]

_HEADER: Final = b"authorization"
_SCHEME: Final = "bearer"
#: The query parameter of a ticket.
TICKET: Final = "ticket"
#: What a ticket allows, to what it is bound to.
_TICKET_SCOPES: Final = frozenset({Scope.OPERATIONS_READ.value})


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Lets those in who may."""

    find_key: FindKey
    redeem: Redeem

    async def admit(
        self, asked: HTTPConnection, needed: Scope, *, by_ticket: bool = False
    ) -> Principal | Refusal:
        """The principal, if he may do what needs this scope; or what to do to be let in."""
        text = asked.query_params.get(TICKET) if by_ticket else None
        if text is not None and not _keys_of(asked):
            return await self._by_ticket(asked, text)
        principal = await self._by_key(asked)
        if isinstance(principal, Refusal):
            return principal
        return authorize(principal, needed) or principal

    async def _by_key(self, asked: HTTPConnection) -> Principal | Refusal:
        given = _keys_of(asked)
        if len(given) != 1:
            return _unauthenticated("No API key came with the request" if not given else "Two came")
        scheme, _, key = given[0].decode("latin-1").partition(" ")
        if scheme.lower() != _SCHEME or not key.strip():
            return _unauthenticated("The Authorization header does not hold a Bearer key")
        principal = await self.find_key(hash_key(key.strip()))
        if principal is None:
            return _unauthenticated("The API key is unknown, revoked or expired")
        return principal

    async def _by_ticket(self, asked: HTTPConnection, text: str) -> Principal | Refusal:
        ticket = await self.redeem(text)
        if ticket is None:
            return Refusal(
                RefusalKind.UNAUTHENTICATED,
                "The ticket is unknown, was used too late or is too old, or its key is revoked. "
                "Ask for a new one: POST /v1/stream-tickets.",
            )
        if ticket.operation_id != asked.path_params.get("id"):
            opens = f"operation {ticket.operation_id!r}" if ticket.operation_id else "the feed"
            return Refusal(
                RefusalKind.FORBIDDEN,
                f"The ticket opens {opens} only. Ask for one for this: POST /v1/stream-tickets.",
            )
        who = ticket.principal
        return Principal(who.key_id, who.tenant_id, _TICKET_SCOPES)


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


def _keys_of(asked: HTTPConnection) -> list[bytes]:
    return [value for name, value in asked.scope["headers"] if name == _HEADER]


def _unauthenticated(what: str) -> Refusal:
    return Refusal(
        RefusalKind.UNAUTHENTICATED,
        f"{what}. Send 'Authorization: Bearer <key>' with a key made for this service.",
    )
