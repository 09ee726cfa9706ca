"""Counts of one subscription's attempts by the hour, for charts."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary

revision = "0012"
down_revision = "0011"

Big = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Add a table with its index."""
    op.create_table(
        "attempt_hours",
        Column("subscription_no", Big, primary_key=True, autoincrement=False),
        Column("hour_at", Big, primary_key=True, autoincrement=False),
        Column("succeeded", Integer, nullable=False),
        Column("failed", Integer, nullable=False),
        Column("took", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attempt_hours_hour_at", "attempt_hours", ["hour_at"])
    if op.get_bind().dialect.name == "postgresql":
        # each row is changed as often as its hour has slices, and there is to be room for that
        op.execute("ALTER TABLE attempt_hours SET (fillfactor = 80)")
