"""Who asks: ``Authorization: Bearer <key>``, looked up by its hash in every request anew."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request

from service.domain.api_keys import Scope, covers, hash_key
from service.domain.errors import Refusal, RefusalKind
from service.ports import Principal

FindKey = Callable[[bytes], Awaitable[Principal | None]]

_HEADER: Final = b"authorization"
_SCHEME: Final = "bearer"


async def authenticate(request: Request, find_key: FindKey) -> Principal | Refusal:
    """The key's principal, or what to do to become one."""
    given = [value for name, value in request.scope["headers"] if name == _HEADER]
    if len(given) != 1:
        return _unauthenticated("No API key came with the request" if not given else "Two came")
    scheme, _, key = given[0].decode("latin-1").partition(" ")
    if scheme.lower() != _SCHEME or not key.strip():
        return _unauthenticated("The Authorization header does not hold a Bearer key")
    principal = await find_key(hash_key(key.strip()))
    if principal is None:
        return _unauthenticated("The API key is unknown, revoked or expired")
    return principal


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


def _unauthenticated(what: str) -> Refusal:
    return Refusal(
        RefusalKind.UNAUTHENTICATED,
        f"{what}. Send 'Authorization: Bearer <key>' with a key made for this service.",
    )
