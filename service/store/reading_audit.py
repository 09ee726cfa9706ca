"""Reads of the audit log."""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import select

from service.domain.ids import key_floor
from service.ports import AuditEntry, AuditFilter, Page, Principal, Span
from service.store.database import Database
from service.store.paging import Condition, down_to, floor_of, page_of
from service.store.schema import audit_log

_KEY: Final = (audit_log.c.key,)
_COLUMNS: Final = tuple(column.name for column in audit_log.columns)


class AuditReads:
    """See :class:`service.ports.AuditLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self, who: Principal, which: AuditFilter, span: Span) -> Page[AuditEntry]:
        """Newest first."""
        along, wanted = list(_along(who, which, span)), list(_wanted(which))
        async with self._database.read() as tx:
            floor = await floor_of(tx, _KEY, along) if wanted else None
            rows = await tx.query(
                select(*(audit_log.c[name] for name in _COLUMNS))
                .where(*along, *wanted, *down_to(_KEY, floor))
                .order_by(audit_log.c.key.desc())
                .limit(span.limit + 1)
            )
        found = [AuditEntry(**row) for row in rows]
        return page_of(found, span.limit, lambda entry: (entry.key,), floor)


def _along(who: Principal, which: AuditFilter, span: Span) -> Iterator[Condition]:
    """What indexes know, in the order of the list."""
    if who.named:
        yield audit_log.c.tenant_id == who.tenant_id
    if which.target is not None:
        yield audit_log.c.target == which.target
    if which.since is not None:
        yield audit_log.c.key >= key_floor(which.since)
    if which.until is not None:
        yield audit_log.c.key < key_floor(which.until)
    if span.after is not None:
        yield audit_log.c.key < span.after[0]


def _wanted(which: AuditFilter) -> Iterator[Condition]:
    """What each entry has to be looked at for."""
    for name in ("actor", "action"):
        value = getattr(which, name)
        if value is not None:
            yield audit_log.c[name] == value
