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
    _index(
        "ix_delivery_queue_ordered",
        "delivery_queue",
        ["subscription_no", "operation_key", "event_key"],
        "operation_key",
    )
    _part_operations()
    _part_subscriptions()


def _part_subscriptions() -> None:
    """An index of those that are for no single operation; a count of those that are."""
    general = text("operation_id IS NULL")
    op.create_index(
        "ix_subscriptions_general",
        "subscriptions",
        ["tenant_id"],
        sqlite_where=general,
        postgresql_where=general,
    )
    op.execute(
        "UPDATE tenants SET bound_subscriptions = (SELECT count(*) FROM subscriptions "
        "WHERE subscriptions.tenant_id = tenants.id AND operation_id IS NOT NULL "
        "AND deleted_at IS NULL)"
    )


def _part_operations() -> None:
    """Indexes of the operations that are kept, and of the tombstones of those that are not."""
    kept = text("forgotten_at IS NULL")
    expires = text("expires_at IS NOT NULL AND forgotten_at IS NULL")
    op.create_index(
        "ix_operations_expires_at",
        "operations",
        ["expires_at"],
        sqlite_where=expires,
        postgresql_where=expires,
    )
    op.drop_index("ix_operations_tenant_id_key", "operations")
    op.create_index(
        "ix_operations_tenant_id_key",
        "operations",
        ["tenant_id", "key"],
        sqlite_where=kept,
        postgresql_where=kept,
    )
    _index("ix_operations_tombstones", "operations", ["ended_at"], "forgotten_at")


def _index(name: str, table: str, columns: list[str], given: str, *, unique: bool = False) -> None:
    """An index of the rows in which the column ``given`` is."""
    where = text(f"{given} IS NOT NULL")
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)
