"""API keys as administrators handle them, and the note of when each was used last.

A key's text is made here and shown once; the store gets a hash of it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from service.domain import times
from service.domain.api_keys import KEY_BYTES, ApiKey, Scope, hash_key, new_key, public_part
from service.domain.errors import Fault, Refusal, invalid
from service.domain.tenant import DEFAULT_TENANT
from service.ports import Clock, FoundKey, KeyStore, NewText, Once, Principal, Replayed
from service.usecases.coalescing import Coalesced
from service.usecases.making import Maker
from service.usecases.sweep import Chore

#: Milliseconds between two notes of the use of one key.
_NOTED_EVERY: Final = 60_000
#: Seconds for which uses are gathered before they are written.
_GATHERED: Final = 5.0
#: Seconds for which a key that was found is not looked up again; keys of which that is known.
_GOOD_FOR: Final = 1.0
_REMEMBERED: Final = 10_000
_UNKNOWN: Final = (None, 0.0)

FindKey = Callable[[bytes], Awaitable[FoundKey | None]]


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key as it is asked for. ``expires_at`` is ms."""

    tenant_id: str
    name: str
    scopes: frozenset[str]
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class WithText:
    """A key and its text, to be shown this once."""

    key: ApiKey
    text: str = field(repr=False)


class ManageKeys:
    """Makes, rotates and revokes keys; ``changed`` is told of the latter two."""

    def __init__(self, store: KeyStore, maker: Maker, changed: Callable[[], None]) -> None:
        self._store = store
        self._maker = maker
        self._changed = changed

    async def create(
        self, who: Principal, new: NewApiKey, once: Once | None
    ) -> WithText | Refusal | Replayed:
        """Make a key."""
        now, no, name = self._maker.name("key")
        faults = _faults(who, new, now)
        if faults:
            return invalid(*faults)
        text = self._text()
        key = ApiKey(
            no=no,
            id=name,
            tenant_id=new.tenant_id,
            name=new.name,
            scopes=new.scopes,
            created_at=now,
            public=public_part(text),
            expires_at=new.expires_at,
        )
        made = await self._store.create_key(who, key, _stored(text), _shown(once, text))
        return WithText(made, text) if isinstance(made, ApiKey) else made

    async def rotate(
        self, who: Principal, name: str, overlap: float, once: Once | None
    ) -> WithText | Refusal | Replayed:
        """Give a key another text; the present one is good for ``overlap`` seconds longer."""
        text = self._text()
        rotated = await self._store.rotate_key(
            who, name, _stored(text), times.seconds(overlap), _shown(once, text)
        )
        self._changed()
        return WithText(rotated, text) if isinstance(rotated, ApiKey) else rotated

    async def revoke(self, who: Principal, name: str) -> Refusal | None:
        """End a key for good."""
        refusal = await self._store.revoke_key(who, name)
        self._changed()
        return refusal

    def _text(self) -> str:
        return new_key(self._maker.dice.bytes(KEY_BYTES))


class KeyUse:
    """Finds keys, and notes that they are used: at most once a minute each, and never at once.

    What was found is good for a second, unless its key ends before or this process changes one.
    Where no other process can change keys (``is_alone``) that is all there is to know: a revoked
    key is dead at once. Elsewhere it is only presumed, for who sees by himself that it is in force;
    all others look, and those who ask at the same time share a look.
    """

    def __init__(
        self, find: FindKey, store: KeyStore, clock: Clock, *, is_alone: bool = True
    ) -> None:
        self._is_alone = is_alone
        self._find = find if is_alone else Coalesced(find).ask
        self._store = store
        self._clock = clock
        #: Keys by their hashes, and until when what is known of them is good (monotonic).
        self._known: dict[bytes, tuple[FoundKey, float]] = {}
        #: Counts changes, so that what was read before one is not remembered after it.
        self._changes = 0
        #: When each key's use was noted last, and what of that is not written yet (ms).
        self._noted: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    async def find(self, digest: bytes) -> Principal | None:
        """Whose key this is, when it is in force."""
        found = self._recall(digest) if self._is_alone else None
        found = found or await self._look_up(digest)
        if found is None:
            return None
        self._note(found)
        return found.principal

    async def presume(self, digest: bytes) -> Principal | None:
        """The same; what is remembered of other processes' keys says that it is to be confirmed."""
        found = self._recall(digest)
        if found is None or self._is_alone:
            return await self.find(digest)
        self._note(found)
        return found.principal

    async def _look_up(self, digest: bytes) -> FoundKey | None:
        changes = self._changes
        found = await self._find(digest)
        if found is not None and changes == self._changes:
            self._remember(digest, found)
        return found

    def _note(self, found: FoundKey) -> None:
        """Note that it is used, if that was not just noted."""
        now, name = self._clock.now(), found.principal.key_id
        if now - self._noted.get(name, 0) >= _NOTED_EVERY:
            self._noted[name] = self._waiting[name] = now

    def forget(self) -> None:
        """Look every key up anew: one was changed."""
        self._changes += 1
        self._known.clear()

    async def write(self) -> int:
        """Write what was noted; what cannot be written is noted anew a minute later."""
        if not self._waiting:
            return 0
        used, self._waiting = self._waiting, {}
        await self._store.note_use(used)
        now = self._clock.now()
        self._noted = {k: at for k, at in self._noted.items() if now - at < _NOTED_EVERY}
        return 0

    def chores(self) -> tuple[Chore, ...]:
        """What every process that finds keys is to do."""
        return (Chore("key use", _GATHERED, self.write, keeps=True),)

    def _recall(self, digest: bytes) -> FoundKey | None:
        found, until = self._known.get(digest, _UNKNOWN)
        if found is None or self._clock.monotonic() >= until:
            return None
        return found if found.ends_at is None or self._clock.now() < found.ends_at else None

    def _remember(self, digest: bytes, found: FoundKey) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        if not self._is_alone:
            found = replace(found, principal=replace(found.principal, unconfirmed=digest))
        self._known[digest] = found, self._clock.monotonic() + _GOOD_FOR


def _faults(who: Principal, new: NewApiKey, now: int) -> list[Fault]:
    faults = []
    if who.named and new.tenant_id != who.tenant_id:
        said = f"is not {who.tenant_id!r}, the tenant that the header Ringback-Tenant names"
        faults.append(Fault("/tenantId", said))
    if Scope.ADMIN in new.scopes and new.tenant_id != DEFAULT_TENANT:
        said = f"'admin' is for keys of tenant {DEFAULT_TENANT!r} only: it rules every tenant"
        faults.append(Fault("/scopes", said))
    if new.expires_at is not None and new.expires_at <= now:
        faults.append(Fault("/expiresAt", "must be in the future"))
    return faults


def _stored(text: str) -> NewText:
    return NewText(hash_key(text), public_part(text))


def _shown(once: Once | None, text: str) -> Once | None:
    """The answer to be kept holds the text, which the store itself never sees open."""
    if once is None:
        return None

    def render(made: ApiKey) -> bytes | None:
        return once.render(WithText(made, text))

    return Once(once.key, once.fingerprint, render)
