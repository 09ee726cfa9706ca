"""Time, chance, secrets, the network and wakes."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from service.domain.certificates import CheckedIdentity, TlsIdentity
from service.domain.errors import Fault
from service.domain.outcome import Outcome
from service.domain.request import OutboundRequest
from service.domain.signature import Sign


class StoreUnavailableError(Exception):
    """The store did not keep what it was given; the caller may try again. Says what happened."""


class StoreBusyError(StoreUnavailableError):
    """Somebody else had what was to be changed, for longer than it was to wait for."""


class StoreInUseError(StoreUnavailableError):
    """Another process has the store, which can only be one's; says what to do about it."""


class UnknownCommitError(StoreUnavailableError):
    """Nobody knows whether the store kept it, or it kept a part: whoever asked has to look."""


class SealError(Exception):
    """A sealed value does not open here: its key is not in the ring, or it is another row's."""


class GroupTooWideError(Exception):
    """A group makes more deliveries than one transaction should; nothing of it was kept."""


class Clock(Protocol):
    """The one reader of time."""

    def now(self) -> int:
        """Milliseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that never jump."""


class Dice(Protocol):
    """The one reader of chance."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def bytes(self, count: int) -> bytes:
        """``count`` bytes nobody can guess."""


class SealedKey(NamedTuple):
    """A private key, sealed, and its public key as Standard Webhooks writes it."""

    sealed: bytes
    public: str


class Vault(Protocol):
    """Seals secrets; a sealed one opens only in the context it was sealed for."""

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt with the first key of the ring."""

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt; raises when the key is unknown or the context is another."""

    def new_key(self, seed: bytes, context: str) -> SealedKey:
        """An Ed25519 key made of 32 random bytes."""

    def signer(self, sealed: bytes, context: str) -> Sign:
        """What signs with a sealed private key; raises as :meth:`open` does."""

    def read_identity(self, given: TlsIdentity, now: int) -> CheckedIdentity | list[Fault]:
        """What TLS connections are to go by, checked at the moment ``now`` (ms); or all faults."""


class Sender(Protocol):
    """Sends one request to a vetted address; the network never raises past it."""

    async def send(self, request: OutboundRequest) -> Outcome:
        """Send, within the request's own time-out."""

    def check_url(self, url: str) -> str | None:
        """Why this URL may not be called, in words; ``None`` when it may. Resolves no names."""

    def check_identity(self, identity: TlsIdentity) -> str | None:
        """Why TLS takes no such certificates, in words; ``None`` when it does."""


class Waker(Protocol):
    """Tells workers to look at lanes. Losing a wake costs a sweep interval, never a delivery."""

    def wake(self, lanes: Iterable[int]) -> None:
        """Return at once; lanes that wait together go as one message."""
