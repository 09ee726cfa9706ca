"""Reads of the audit log."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, select

from service.domain.ids import key_floor
from service.ports import AuditEntry, AuditFilter, Page, Principal, Span
from service.store.database import Database
from service.store.paging import page_of
from service.store.schema import audit_log

_COLUMNS: Final = tuple(column.name for column in audit_log.columns)


class AuditReads:
    """See :class:`service.ports.AuditLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self, who: Principal, which: AuditFilter, span: Span) -> Page[AuditEntry]:
        """Newest first."""
        statement = (
            select(*(audit_log.c[name] for name in _COLUMNS))
            .where(*_wanted(who, which))
            .order_by(audit_log.c.key.desc())
            .limit(span.limit + 1)
        )
        if span.after is not None:
            statement = statement.where(audit_log.c.key < span.after[0])
        async with self._database.read() as tx:
            found = [AuditEntry(**row) for row in await tx.query(statement)]
        return page_of(found, span.limit, lambda entry: (entry.key,))


def _wanted(who: Principal, which: AuditFilter) -> Iterator[ColumnElement[Any]]:
    if who.named:
        yield audit_log.c.tenant_id == who.tenant_id
    for name in ("actor", "action", "target"):
        value = getattr(which, name)
        if value is not None:
            yield audit_log.c[name] == value
    if which.since is not None:
        yield audit_log.c.key >= key_floor(which.since)
    if which.until is not None:
        yield audit_log.c.key < key_floor(which.until)
