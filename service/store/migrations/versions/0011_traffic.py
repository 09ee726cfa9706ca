"""Counts over time, for charts."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text, text

revision = "0011"
down_revision = "0010"

Big = BigInteger().with_variant(Integer(), "sqlite")

_COUNTS = ("accepted", "delivered", "failed", "dead")
_GAUGES = ("in_flight", "due", "oldest_due_age", "dead_letters_open")
_TOOK = tuple(f"took_{bucket}" for bucket in range(24))


def upgrade() -> None:
    """Add a table with its index."""
    op.create_table(
        "traffic",
        Column("tenant_id", Text, primary_key=True),
        Column("length", Integer, primary_key=True, autoincrement=False),
        Column("slice_at", Big, primary_key=True, autoincrement=False),
        *_counts(_COUNTS),
        *(Column(name, Big) for name in _GAUGES),
        *_counts(_TOOK),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_traffic_slice_at", "traffic", ["length", "slice_at"])


def _counts(names: tuple[str, ...]) -> list[Column[int]]:
    return [Column(name, Integer, nullable=False, server_default=text("0")) for name in names]
