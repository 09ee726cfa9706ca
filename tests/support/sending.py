"""What deliver needs besides the store: a vault, a sender and a store that can be watched."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from service.domain.certificates import CheckedIdentity, TlsIdentity
from service.domain.errors import Fault
from service.domain.outcome import Outcome
from service.domain.request import OutboundRequest
from service.domain.signature import Sign, public_key_text
from service.ports import Claim, Claimed, LaneQuota, SealedKey, SealError, Settled, Settlement
from service.store.delivering import DeliverStore
from service.vault import certificates, ed25519
from tests.support.world import answer

#: Seconds that a test waits for what must come.
PATIENCE = 30.0

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  the one of the Standard Webhooks examples


class OpenVault:
    """Opens everything to the same secret, apart from what is named as lost."""

    def __init__(self) -> None:
        self.lost: set[str] = set()

    def seal(self, plaintext: bytes, _context: str) -> bytes:
        return plaintext

    def open(self, _sealed: bytes, context: str) -> bytes:
        if any(name in context for name in self.lost):
            raise SealError("its key is not in the ring")
        return SECRET.encode()

    def new_key(self, seed: bytes, _context: str) -> SealedKey:
        return SealedKey(seed, public_key_text(ed25519.public_key(seed)))

    def signer(self, sealed: bytes, _context: str) -> Sign:
        return ed25519.signer(sealed)

    def read_identity(self, given: TlsIdentity, now: int) -> CheckedIdentity | list[Fault]:
        return certificates.read(given, now)


@dataclass
class Sent:
    """One request that reached the network."""

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"
    timeout: float = 0.0

    @property
    def attempt(self) -> int:
        return int(self.headers["x-webhook-attempt"])


@dataclass
class ScriptedSender:
    """Answers as its script says; ``hold`` makes the requests to a URL wait until ``let_go``."""

    script: Callable[[Sent], Outcome] = lambda _: answer(200)
    sent: list[Sent] = field(default_factory=list)
    in_flight: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    _gates: dict[str, asyncio.Event] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def hold(self, url: str) -> None:
        self._gates[url] = asyncio.Event()

    def let_go(self, url: str) -> None:
        self._gates.pop(url).set()

    async def send(self, request: OutboundRequest) -> Outcome:
        sent = Sent(
            request.url, dict(request.headers), request.body, request.method, request.timeout
        )
        self.in_flight[sent.url] += 1
        self.most[sent.url] = max(self.most[sent.url], self.in_flight[sent.url])
        self.most_at_once = max(self.most_at_once, self.in_flight.total())
        try:
            async with self._news:
                self.sent.append(sent)
                self._news.notify_all()
            if sent.url in self._gates:
                await self._gates[sent.url].wait()
            return self.script(sent)
        finally:
            self.in_flight[sent.url] -= 1

    def check_url(self, _url: str) -> str | None:
        return None

    def check_identity(self, _identity: TlsIdentity) -> str | None:
        return None

    async def wait_for(self, count: int, url: str | None = None) -> list[Sent]:
        """The requests (to a URL), as soon as there are ``count``."""

        def found() -> list[Sent]:
            return [each for each in self.sent if url in (None, each.url)]

        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(found()) >= count)
        return found()


class WatchedStore:
    """A store whose claims, releases and settles can be waited for, and made to fail before."""

    def __init__(self, store: DeliverStore) -> None:
        self._store = store
        self._news = asyncio.Condition()
        #: Called before each; an exception of theirs is the store's.
        self.before_claim: Callable[[], Awaitable[None]] = nothing
        self.before_settle: Callable[[Sequence[Settlement]], None] = lambda _: None
        self.after_claim: Callable[[], None] = lambda: None
        self.settled: list[Settlement] = []
        self.released: list[Claimed] = []
        self.claims = 0

    async def claim(self, quotas: Sequence[LaneQuota], lease: int) -> Claim:
        await self.before_claim()
        claim = await self._store.claim(quotas, lease)
        self.after_claim()
        async with self._news:
            self.claims += 1
            self._news.notify_all()
        return claim

    async def release(self, claimed: Sequence[Claimed]) -> None:
        await self._store.release(claimed)
        async with self._news:
            self.released += claimed
            self._news.notify_all()

    async def settle(self, results: Sequence[Settlement]) -> Settled:
        self.before_settle(results)
        settled = await self._store.settle(results)
        async with self._news:
            self.settled += results
            self._news.notify_all()
        return settled

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until this holds after a claim, a release or a settle."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(holds)

    async def wait_for(self, count: int) -> None:
        """Wait for so many results to be settled."""
        await self.until(lambda: len(self.settled) >= count)


class Wakes:
    """Remembers which lanes were woken, call by call."""

    def __init__(self) -> None:
        self.calls: list[set[int]] = []

    def wake(self, lanes: Iterable[int]) -> None:
        self.calls.append(set(lanes))

    @property
    def lanes(self) -> set[int]:
        return set().union(*self.calls)


async def nothing() -> None:
    """Do nothing."""
