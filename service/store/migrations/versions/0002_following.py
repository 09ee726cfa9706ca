"""What following an operation needs: promises about it, ordered lanes, stream tickets, the feed."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text, text

revision = "0002"
down_revision = "0001"

Big = BigInteger().with_variant(Integer(), "sqlite")

_ADDED: dict[str, tuple[Column[Any], ...]] = {
    "tenants": (
        Column("feed_floor", Big, nullable=False, server_default=text("0")),
        Column("bound_subscriptions", Big, nullable=False, server_default=text("0")),
    ),
    "subscriptions": (Column("ordering", Text, nullable=False, server_default=text("'none'")),),
    "operations": (
        Column("client_job_id", Text),
        Column("expected_ms", Big),
        Column("ttl_ms", Big),
        Column("timeout_ms", Big),
        Column("estimated_at", Big),
        Column("silent_at", Big),
        Column("expires_at", Big),
        Column("forgotten_at", Big),
        Column("retry_of", Text),
        Column("retried_by", Text),
        Column("webhook_id", Text),
    ),
    "delivery_queue": (Column("operation_key", Big),),
}


def upgrade() -> None:
    """Add columns, their indexes and a table."""
    for table, columns in _ADDED.items():
        for column in columns:
            op.add_column(table, column)
    op.create_table(
        "stream_tickets",
        Column("hash", LargeBinary, primary_key=True),
        Column("tenant_id", Text, nullable=False),
        Column("key_id", Text, nullable=False),
        Column("operation_id", Text),
        Column("created_at", Big, nullable=False),
        Column("first_used_at", Big),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_stream_tickets_created_at", "stream_tickets", ["created_at"])
    _index("ix_subscriptions_bound", "subscriptions", ["tenant_id", "operation_id"], "operation_id")
    _index(
        "uq_operations_client_job_id",
        "operations",
        ["tenant_id", "client_job_id"],
        "client_job_id",
        unique=True,
    )
    _index("ix_operations_silent_at", "operations", ["silent_at"], "silent_at")
    _index("ix_operations_expires_at", "operations", ["expires_at"], "expires_at")
    _index(
        "ix_delivery_queue_ordered",
        "delivery_queue",
        ["subscription_no", "operation_key", "event_key"],
        "operation_key",
    )


def _index(name: str, table: str, columns: list[str], given: str, *, unique: bool = False) -> None:
    """An index of the rows in which the column ``given`` is."""
    where = text(f"{given} IS NOT NULL")
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)
