"""Operational events, written in the transaction of what they tell of: so none is ever lost.

They are numbered and delivered as all others are. How many open dead letters a subscription has
is counted where it is burying; where there are many, only as often as a threshold may be near.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from sqlalchemy import select

from service.domain import ids, operational
from service.domain.acceptance import NewEvent
from service.domain.ids import KeyMaker
from service.domain.operational import Notice
from service.ports import Dice
from service.store.database import Tx
from service.store.schema import subscriptions, tenants
from service.store.statements import Statement, among, bytewise

#: Open dead letters of a subscription that are counted anew each time.
_FEW: Final = 1_000
_ALL: Final = 2**62
_SALT_BYTES: Final = 4

_NAMES: Final = Statement(
    select(subscriptions.c.no, subscriptions.c.tenant_id, subscriptions.c.id).where(
        among(subscriptions.c.no, "lanes")
    )
)
_TENANTS: Final = Statement(
    select(tenants.c.id)
    .where(among(tenants.c.id, "tenants"))
    .order_by(bytewise(tenants.c.id))
    .with_for_update()
)
_OPEN_LETTERS: Final = (
    "SELECT count(*) FROM (SELECT 1 FROM dead_letters "
    "WHERE subscription_no = ? AND state = 'open' LIMIT ?)"
)


class Log(Protocol):
    """Who numbers and writes events; see :class:`service.store.accepting.AcceptStore`."""

    async def announce(self, tx: Tx, new: list[NewEvent]) -> frozenset[int]:
        """Write these events."""


class Announcer:
    """Makes operational events."""

    def __init__(self, log: Log, keys: KeyMaker, dice: Dice) -> None:
        self._log = log
        self._keys = keys
        self._dice = dice
        #: Of subscriptions with many open dead letters: how many there are at most.
        self._many: dict[int, int] = {}

    async def announce(self, tx: Tx, notices: Sequence[Notice]) -> frozenset[int]:
        """Write the events; the lanes in which something is due by them."""
        if not notices:
            return frozenset()
        return await self._log.announce(tx, [self._event(each, tx.now) for each in notices])

    async def crossed(self, tx: Tx, lane: int, more: int) -> list[int]:
        """The thresholds that ``more`` new open dead letters of a lane have crossed."""
        if tx.is_shared:  # others add to them too
            count = await _count(tx, lane, _ALL)
            return operational.thresholds(count - more, count)
        known = self._many.get(lane, 0) + more
        is_far = lane in self._many and not operational.thresholds(known - more, known)
        count = await _count(tx, lane, _FEW + 1)
        if count > _FEW and is_far:
            self._many[lane] = known
            return []
        if count > _FEW:
            count = self._many[lane] = await _count(tx, lane, _ALL)
        else:
            self._many.pop(lane, None)
        return operational.thresholds(count - more, count)

    def _event(self, notice: Notice, now: int) -> NewEvent:
        key = self._keys.next(now)
        name = ids.keyed("evt", key, self._dice.bytes(_SALT_BYTES))
        return NewEvent(
            key=key,
            tenant_id=notice.tenant_id,
            id=name,
            type=notice.type,
            operation_key=None,
            operation_id=None,
            operation_type=None,
            sequence=None,
            status=None,
            created_at=now,
            body=operational.render(notice, name, now),
        )


async def lock_tenants(tx: Tx, tenant_ids: Iterable[str]) -> None:
    """Let nobody else write events of these tenants; nothing but inserts comes after."""
    wanted = sorted(set(tenant_ids))
    if wanted:
        await tx.fetch(_TENANTS, tenants=wanted)


async def names_of(tx: Tx, lanes: Iterable[int]) -> Mapping[int, tuple[str, str]]:
    """The tenant and the id of each lane's subscription."""
    rows = await tx.fetch(_NAMES, lanes=sorted(lanes))
    return {no: (tenant, name) for no, tenant, name in rows}


async def _count(tx: Tx, lane: int, limit: int) -> int:
    """The open dead letters of a lane, ``limit`` at most."""
    return int((await tx.sql(_OPEN_LETTERS, (lane, limit)))[0][0])
