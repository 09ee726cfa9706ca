"""What receivers' health needs, and counts of attempts."""

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, text

revision = "0004"
down_revision = "0003"

Big = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Add a column and two tables with their indexes."""
    op.add_column("subscriptions", Column("rate_limit_per_second", Float))
    _add_health()
    _add_tallies()


def _add_health() -> None:
    """What is remembered of each receiver."""
    op.create_table(
        "subscription_health",
        Column("subscription_no", Big, primary_key=True, autoincrement=False),
        Column("streak", Integer, nullable=False),
        Column("failing_since", Big),
        Column("trips", Integer, nullable=False),
        Column("opened_at", Big, nullable=False),
        Column("open_until", Big, nullable=False),
        Column("recent", LargeBinary, nullable=False),
        Column("told", Integer, nullable=False),
        Column("last_success_at", Big),
        Column("last_failure_at", Big),
    )
    tripped = text("trips > 0")
    op.create_index(
        "ix_subscription_health_tripped",
        "subscription_health",
        ["open_until"],
        sqlite_where=tripped,
        postgresql_where=tripped,
    )


def _add_tallies() -> None:
    """Attempts by subscription, slice of time and duration."""
    op.create_table(
        "attempt_tallies",
        Column("subscription_no", Big, primary_key=True, autoincrement=False),
        Column("slice_at", Big, primary_key=True, autoincrement=False),
        Column("bucket", Integer, primary_key=True, autoincrement=False),
        Column("succeeded", Big, nullable=False),
        Column("failed", Big, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attempt_tallies_slice_at", "attempt_tallies", ["slice_at"])
