"""The tables of receivers' health, and of counts of attempts."""

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, text

from service.store.schema_base import Big, metadata

#: What is remembered of receivers. It changes with deliveries, so it is not their subscription's.
subscription_health = Table(
    "subscription_health",
    metadata,
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("streak", Integer, nullable=False),
    Column("failing_since", Big),
    Column("trips", Integer, nullable=False),
    Column("opened_at", Big, nullable=False),
    Column("open_until", Big, nullable=False),
    # counts of the last minutes, as JSON
    Column("recent", LargeBinary, nullable=False),
    Column("told", Integer, nullable=False),
    Column("last_success_at", Big),
    Column("last_failure_at", Big),
)

#: Only the circuits that are not closed.
_is_tripped = subscription_health.c.trips > text("0")
Index(
    "ix_subscription_health_tripped",
    subscription_health.c.open_until,
    sqlite_where=_is_tripped,
    postgresql_where=_is_tripped,
)

#: Counts of attempts by slice of time and duration; those of the whole service have the number 0.
attempt_tallies = Table(
    "attempt_tallies",
    metadata,
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("slice_at", Big, primary_key=True, autoincrement=False),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("succeeded", Big, nullable=False),
    Column("failed", Big, nullable=False),
    Index("ix_attempt_tallies_slice_at", "slice_at"),
    sqlite_with_rowid=False,
)

#: Those of one subscription that are past their day, summed up.
attempt_hours = Table(
    "attempt_hours",
    metadata,
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("hour_at", Big, primary_key=True, autoincrement=False),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    # pairs of a bucket and its count, as JSON
    Column("took", LargeBinary, nullable=False),
    Index("ix_attempt_hours_hour_at", "hour_at"),
    sqlite_with_rowid=False,
)
