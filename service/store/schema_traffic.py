"""The table of counts over time."""

from sqlalchemy import Column, Index, Integer, Table, Text, text

from service.domain.traffic import BUCKETS
from service.store.schema_base import Big, metadata

COUNTS = ("accepted", "delivered", "failed", "dead")
GAUGES = ("in_flight", "due", "oldest_due_age", "dead_letters_open")
TOOK = tuple(f"took_{bucket}" for bucket in range(BUCKETS))

#: One row a tenant, length of slices and slice; that of all tenants together is of tenant ``''``.
traffic = Table(
    "traffic",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("length", Integer, primary_key=True, autoincrement=False),
    Column("slice_at", Big, primary_key=True, autoincrement=False),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in COUNTS),
    # at their fullest; only of all tenants together, and only where a sweeper looked
    *(Column(name, Big) for name in GAUGES),
    # deliveries by how long they took
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in TOOK),
    Index("ix_traffic_slice_at", "length", "slice_at"),
    sqlite_with_rowid=False,
)
