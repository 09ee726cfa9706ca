"""Stream tickets: a hash of each, whose key made it, what it opens and when it was first used."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, or_, select, update

from service.domain.errors import Refusal
from service.domain.ids import KeyMaker
from service.domain.tickets import FIRST_USE, LIFETIME
from service.ports import Once, Principal, Replayed, Ticket
from service.store import auditing, portals
from service.store.database import Database, Tx
from service.store.keeping import IN_FORCE
from service.store.once import once as do_once
from service.store.schema import Big, api_keys, stream_tickets
from service.store.statements import CHUNK, Statement, among

#: What a ticket opens that is for no single operation, in the audit log.
_FEED: Final = "feed"


def _before(name: str) -> ColumnElement[int]:
    return bindparam("now", type_=Big) - bindparam(name, type_=Big)


_COLUMNS: Final = tuple(column.name for column in stream_tickets.columns)
_IN_FORCE: Final = Statement(select(api_keys.c.id).where(among(api_keys.c.id, "names"), IN_FORCE))
_FIND: Final = Statement(
    select(
        stream_tickets.c.tenant_id,
        stream_tickets.c.key_id,
        stream_tickets.c.operation_id,
        stream_tickets.c.created_at,
        stream_tickets.c.first_used_at,
    )
    .join(api_keys, api_keys.c.id == stream_tickets.c.key_id)
    .where(
        stream_tickets.c.hash == bindparam("hash"),
        stream_tickets.c.created_at
        > bindparam("now", type_=Big) - bindparam("lifetime", type_=Big),
        or_(
            stream_tickets.c.first_used_at.is_not(None),
            stream_tickets.c.created_at
            > bindparam("now", type_=Big) - bindparam("first_use", type_=Big),
        ),
        IN_FORCE,
    )
)
_USED: Final = Statement(
    update(stream_tickets)
    .where(stream_tickets.c.hash == bindparam("digest"), stream_tickets.c.first_used_at.is_(None))
    .values(first_used_at=bindparam("at"))
)
_PAST: Final = (
    select(stream_tickets.c.hash)
    .where(stream_tickets.c.created_at <= bindparam("before"))
    .order_by(stream_tickets.c.created_at)
    .limit(CHUNK)
)
_FORGET: Final = Statement(
    delete(stream_tickets)
    .where(stream_tickets.c.hash.in_(_PAST))
    .returning(stream_tickets.c.created_at)
)


class TicketStore:
    """See :class:`service.ports.TicketStore`."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self._database = database
        self._keys = keys

    async def issue(
        self, digest: bytes, ticket: Ticket, once: Once | None = None
    ) -> Ticket | Refusal | Replayed:
        """Write a ticket down."""
        who = ticket.principal

        async def body(tx: Tx) -> Ticket | Refusal:
            row = (digest, who.tenant_id, who.key_id, ticket.operation_id, ticket.created_at, None)
            await tx.insert(stream_tickets, _COLUMNS, [row])
            actor = (who.tenant_id, who.key_id)
            target = ticket.operation_id or _FEED
            await auditing.note(tx, self._keys, actor, "stream_ticket.issued", target)
            return ticket

        async def job(tx: Tx) -> Ticket | Refusal | Replayed:
            return await do_once(tx, who.tenant_id, once, body)

        return await self._database.write(job)

    async def in_force(self, key_ids: Collection[str]) -> frozenset[str]:
        """Those of these keys that are neither revoked nor expired, and sessions that last."""
        names = sorted(key_ids)
        rows = await self._database.look(_IN_FORCE, names=names)
        found = frozenset(row[0] for row in rows)
        if len(found) == len(names):
            return found
        return found | await portals.in_force(self._database, names)

    async def redeem(self, digest: bytes) -> Ticket | None:
        """The ticket, if its key is in force and it is neither used too late nor too old."""
        rows = await self._database.look(_FIND, hash=digest, first_use=FIRST_USE, lifetime=LIFETIME)
        if not rows:
            return None
        tenant_id, key_id, operation_id, created_at, first_used_at = rows[0]
        if first_used_at is None:

            async def job(tx: Tx) -> None:
                await tx.fetch(_USED, digest=digest, at=tx.now)

            await self._database.write(job)
        return Ticket(Principal(key_id, tenant_id, frozenset()), operation_id, created_at)


async def forget_old(tx: Tx) -> int:
    """Delete a batch of the tickets that open nothing any more; how many."""
    return len(await tx.fetch(_FORGET, before=tx.now - LIFETIME))
