"""The tables of what was done with keys, and of what they open."""

from sqlalchemy import Column, Index, LargeBinary, Table, Text

from service.store.schema_base import Big, metadata

audit_log = Table(
    "audit_log",
    metadata,
    Column("key", Big, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text),
    Index("ix_audit_log_tenant_id_key", "tenant_id", "key"),
    Index("ix_audit_log_target_key", "target", "key"),
)

#: What opens a stream for a client that cannot send headers; only a hash of each is kept.
stream_tickets = Table(
    "stream_tickets",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    # the one operation it opens; without it the feed
    Column("operation_id", Text),
    Column("created_at", Big, nullable=False, index=True),
    Column("first_used_at", Big),
    sqlite_with_rowid=False,
)
