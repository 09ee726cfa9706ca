"""Who asks too often, and who guesses: what is known of them, in this process only.

What a client is told of its limit follows draft-ietf-httpapi-ratelimit-headers-10: the policy, and
what is left of it, as structured fields on every answer to a key.
"""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any, Final

from starlette.types import Message, Scope, Send

from service.domain.errors import Refusal, RefusalKind
from service.domain.rate import MAX_FAILURES, Failures, RateLimit, Standing, failed, shut_out

#: Addresses of which failures are known; then the one that failed least lately is forgotten.
_MOST_ADDRESSES: Final = 10_000
#: Keys of which it is looked whether they were silent long enough to be forgotten.
_MANY_KEYS: Final = 1_000
#: Bits of an IPv6 address that one client may choose freely.
_OWN_BITS: Final = 64
#: Where a request keeps the headers that tell of its key's limit.
_TOLD: Final = "ringback.limit"
_STARTS: Final = frozenset(
    {"http.response.start", "websocket.http.response.start", "websocket.accept"}
)

#: Seconds that never jump.
Monotonic = Callable[[], float]


class RateLimits:
    """So many requests per second of each key; 0 is no limit."""

    def __init__(self, rate: float, now: Monotonic) -> None:
        self._limit = RateLimit(rate) if rate else None
        self._now = now
        self._empty_at: dict[str, float] = {}
        self._many = _MANY_KEYS

    def refuse(self, scope: Scope, key_id: str) -> Refusal | None:
        """Why this request of a key is one too many; its answer will tell of the limit."""
        limit = self._limit
        if limit is None:
            return None
        now = self._now()
        standing = limit.judge(self._empty_at.get(key_id, now), now)
        self._empty_at[key_id] = standing.empty_at
        self._forget(now)
        scope[_TOLD] = _headers(limit, standing, now)
        if standing.allowed:
            return None
        return Refusal(
            RefusalKind.TOO_MANY_REQUESTS,
            f"The API key has made more than the {limit.rate:.15g} requests per second that it "
            "may. Repeat it after Retry-After seconds; batches carry more in fewer requests.",
            retry_after=max(ceil(standing.wait), 1),
        )

    def telling(self, scope: Scope, send: Send) -> Send:
        """``send``, which adds what the client is to be told of its limit."""
        if self._limit is None:
            return send

        async def told(message: Message) -> None:
            if _TOLD in scope and message["type"] in _STARTS:
                message = {**message, "headers": [*message.get("headers", ()), *scope[_TOLD]]}
            await send(message)

        return told

    def _forget(self, now: float) -> None:
        """Forget those whose bucket is empty, whenever there are twice as many as were left."""
        if len(self._empty_at) > self._many:
            self._empty_at = {key: at for key, at in self._empty_at.items() if at > now}
            self._many = max(2 * len(self._empty_at), _MANY_KEYS)


class Guesses:
    """Failed authentications, by the client's address. Those with a good key are never shut out."""

    def __init__(self, now: Monotonic) -> None:
        self._now = now
        self._known: OrderedDict[str, Failures] = OrderedDict()

    def failed(self, scope: Scope, refusal: Refusal) -> Refusal:
        """What to say to one more failure: ``refusal``, or that there were too many."""
        now, client = self._now(), _client_of(scope)
        before = self._known.get(client)
        wait = shut_out(before, now)
        self._known[client] = failed(before, now)
        self._known.move_to_end(client)
        if len(self._known) > _MOST_ADDRESSES:
            self._known.popitem(last=False)
        if not wait:
            return refusal
        return Refusal(
            RefusalKind.TOO_MANY_REQUESTS,
            f"{refusal.detail} So were {MAX_FAILURES} others from this address: no more are told "
            "apart for a while. A request with a valid key is answered all the same.",
            retry_after=ceil(wait),
        )


def _headers(limit: RateLimit, standing: Standing, now: float) -> list[tuple[bytes, bytes]]:
    reset = ceil(standing.empty_at - now)
    return [
        (b"ratelimit-policy", b'"key";q=%d;w=%d' % (limit.burst, limit.window)),
        (b"ratelimit", b'"key";r=%d;t=%d' % (standing.remaining, reset)),
    ]


def _client_of(scope: Scope) -> str:
    """The client's address; of an IPv6 address the network, in which it may have any other."""
    client: tuple[str, Any] | None = scope.get("client")
    text = "" if client is None else client[0]
    try:
        address = ip_address(text)
    except ValueError:  # a Unix socket, or what a proxy made up
        return text
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else f"{int(address) >> _OWN_BITS:x}"
    return str(address)
