"""What is remembered of receivers, as it is kept: one row for each subscription ever sent to."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select

from service.domain.health import Health, Slice
from service.store.database import Tx
from service.store.schema import delivery_queue, subscriptions
from service.store.schema_health import subscription_health
from service.store.statements import Change, Many, Row, Statement, among, one_of

_COLUMNS: Final = tuple(column.name for column in subscription_health.columns)
_some = select(*subscription_health.columns).where(
    among(subscription_health.c.subscription_no, "lanes")
)
_READ: Final = Statement(_some)
_ALIVE: Final = Statement(
    select(subscriptions.c.no)
    .where(among(subscriptions.c.no, "lanes"), subscriptions.c.deleted_at.is_(None))
    .order_by(subscriptions.c.no)
)
_LOCK: Final = Statement(_some.order_by(subscription_health.c.subscription_no).with_for_update())
_UNLESS: Final = "ON CONFLICT (subscription_no) DO NOTHING"
_UNCLEAN: Final = (
    "SELECT subscription_no FROM subscription_health WHERE (streak > 0 OR trips > 0 OR told > 0)"
)
_UNCLEAN_OF: Final = Many(
    f"{_UNCLEAN} AND {one_of(('subscription_no',))}", subscription_health.c.subscription_no
)
_REPLACE: Final = "ON CONFLICT (subscription_no) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS[1:]
)
#: What is in flight comes from the index of leases, which holds nothing else: without the word it
#: would be looked for in a lane's whole backlog.
_IN_FLIGHT: Final = Many(
    "WITH leased AS MATERIALIZED "
    "(SELECT subscription_no FROM delivery_queue WHERE token IS NOT NULL) "
    f"SELECT subscription_no, count(*) FROM leased WHERE {one_of(('subscription_no',))} "
    "GROUP BY subscription_no",
    delivery_queue.c.subscription_no,
)


async def read(tx: Tx, lanes: Iterable[int]) -> dict[int, Health]:
    """The health of those lanes of which anything is remembered."""
    return {row[0]: health_of(row) for row in await tx.fetch(_READ, lanes=sorted(lanes))}


async def lock(tx: Tx, lanes: Iterable[int]) -> dict[int, Health]:
    """The health of those lanes whose subscriptions are not deleted; nobody else changes it now."""
    wanted = sorted(lanes)
    if not wanted:
        return {}  # as after nearly all settlements: none failed, nor is any of a lane that did
    alive = [row[0] for row in await tx.fetch(_ALIVE, lanes=wanted)]
    found = await tx.fetch(_LOCK, lanes=alive)
    known = {row[0] for row in found}
    new = [lane for lane in alive if lane not in known]
    if tx.is_shared and new:
        await tx.insert(subscription_health, _COLUMNS, [_row(n, Health()) for n in new], _UNLESS)
        found += await tx.fetch(_LOCK, lanes=new)
    return {**dict.fromkeys(new, Health()), **{row[0]: health_of(row) for row in found}}


async def write(tx: Tx, healths: Mapping[int, Health]) -> None:
    """Write the health of these lanes."""
    rows = [_row(lane, each) for lane, each in sorted(healths.items())]
    await tx.insert(subscription_health, _COLUMNS, rows, _REPLACE)


async def clear(tx: Tx, lane: int) -> None:
    """Begin anew with a lane's receiver; only when it was heard of last is still known."""
    for was in (await lock(tx, [lane])).values():
        fresh = Health(last_success_at=was.last_success_at, last_failure_at=was.last_failure_at)
        if fresh != was:
            await write(tx, {lane: fresh})


async def forget(tx: Tx, lane: int) -> None:
    """Remember nothing of a lane, whose subscription was deleted."""
    await tx.sql("DELETE FROM subscription_health WHERE subscription_no = ?", (lane,))


async def unclean(tx: Tx, lanes: Iterable[int] | None = None) -> set[int]:
    """The lanes for which a success is more than a count; of these lanes, where they are given."""
    if lanes is None:
        return {row[0] for row in await tx.sql(_UNCLEAN)}
    return {row[0] for row in await tx.each(_UNCLEAN_OF, [(lane,) for lane in lanes])}


def look_for_unclean(lanes: Iterable[int]) -> Change:
    """The look of :func:`unclean` at these lanes, to be done beside something else."""
    return Change(_UNCLEAN_OF, [(lane,) for lane in sorted(set(lanes))])


async def in_flight(tx: Tx, lanes: Iterable[int]) -> dict[int, int]:
    """How much each of these lanes has in flight, in all workers; those left out have nothing."""
    numbers = [(lane,) for lane in sorted(lanes)]
    return dict(await tx.each(_IN_FLIGHT, numbers))


def health_of(row: Sequence[Any]) -> Health:
    """The health of a row of ``subscription_health``."""
    values = dict(zip(_COLUMNS[1:], row[1:], strict=True))
    recent = tuple(Slice(*each) for each in json.loads(values.pop("recent")))
    return Health(recent=recent, told=bool(values.pop("told")), **values)


def _row(lane: int, health: Health) -> Row:
    values = {name: getattr(health, name) for name in _COLUMNS[1:]}
    values["recent"] = json.dumps(health.recent, separators=(",", ":")).encode()
    values["told"] = int(health.told)
    return (lane, *values.values())
