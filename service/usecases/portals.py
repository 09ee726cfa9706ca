"""The consumer portal: a producer's backend asks for a link, whoever opens it has a session."""

from collections.abc import Collection
from dataclasses import dataclass, field

from service.domain.api_keys import hash_key
from service.domain.errors import Refusal
from service.domain.portal import LINK_BYTES, new_link
from service.ports import Once, PortalGuest, PortalLink, PortalStore, Principal, Replayed
from service.usecases.making import Maker


@dataclass(frozen=True, slots=True)
class NewPortalLink:
    """A link as it is asked for. Durations are ms."""

    subscription_id: str | None
    scopes: Collection[str]
    link_ms: int
    session_ms: int


@dataclass(frozen=True, slots=True)
class IssuedLink:
    """A link that was just made, and its secret, to be shown this once."""

    link: PortalLink
    text: str = field(repr=False)


class Portals:
    """Makes links and opens them; the hash of a link's secret names the session it opened."""

    def __init__(self, store: PortalStore, maker: Maker) -> None:
        self._store = store
        self._maker = maker

    async def issue(
        self, who: Principal, new: NewPortalLink, once: Once | None
    ) -> IssuedLink | Refusal | Replayed:
        """A link into the tenant that ``who`` acts for, on behalf of its key."""
        now, _, name = self._maker.name("pl")
        text = new_link(self._maker.dice.bytes(LINK_BYTES))
        link = PortalLink(
            id=name,
            tenant_id=who.tenant_id,
            key_id=who.key_id,
            subscription_id=new.subscription_id,
            scopes=frozenset(new.scopes),
            created_at=now,
            ends_at=now + new.link_ms,
            session_ms=new.session_ms,
        )
        made = await self._store.issue(hash_key(text), link, _shown(once, text))
        return IssuedLink(made, text) if isinstance(made, PortalLink) else made

    async def embedders(self, text: str) -> tuple[str, ...] | None:
        """The origins that may embed what this secret opens; ``None`` when it opens nothing.

        The link stays as it is: where the portal cannot be shown, it is not used up.
        """
        return await self._store.embedders(hash_key(text))

    async def open(self, text: str) -> tuple[bytes, PortalGuest] | None:
        """The session that this secret opens, once; ``None`` when it opens none, or not any more.

        The bytes name the session from then on.
        """
        digest = hash_key(text)
        guest = await self._store.open(digest)
        return None if guest is None else (digest, guest)

    async def guest(self, digest: bytes) -> PortalGuest | None:
        """Whose session this is; ``None`` when it is over."""
        return await self._store.guest(digest)

    async def end(self, digest: bytes) -> None:
        """End a session before its time."""
        await self._store.end(digest)

    async def revoke(self, who: Principal, name: str) -> Refusal | None:
        """Let a link open nothing any more, and end the session that it opened."""
        return await self._store.revoke(who, name)


def _shown(once: Once | None, text: str) -> Once | None:
    """The answer to be kept holds the secret, which the store itself never sees."""
    if once is None:
        return None

    def render(made: PortalLink) -> bytes | None:
        return once.render(IssuedLink(made, text))

    return Once(once.key, once.fingerprint, render)
