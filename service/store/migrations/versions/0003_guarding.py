"""What guarded delivery, keys and tenants need."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text, text

revision = "0003"
down_revision = "0002"

Big = BigInteger().with_variant(Integer(), "sqlite")

_ADDED: dict[str, tuple[Column[Any], ...]] = {
    "tenants": (
        Column("no", Big, nullable=False, server_default=text("0")),
        Column("deleted_at", Big),
        Column("purged_at", Big),
    ),
    "api_keys": (
        Column("no", Big, nullable=False, server_default=text("0")),
        Column("public", Text),
        Column("last_used_at", Big),
        Column("previous_hash", LargeBinary),
        Column("previous_until", Big),
    ),
}


def upgrade() -> None:
    """Add columns, tables and their indexes."""
    for table, columns in _ADDED.items():
        for column in columns:
            op.add_column(table, column)
    _index_keys()


def _index_keys() -> None:
    """Keys by tenant and by the text they had, the audit log by what it is about."""
    op.create_index("ix_api_keys_tenant_id_no", "api_keys", ["tenant_id", "no"])
    rotated = text("previous_hash IS NOT NULL")
    op.create_index(
        "uq_api_keys_previous_hash",
        "api_keys",
        ["previous_hash"],
        unique=True,
        sqlite_where=rotated,
        postgresql_where=rotated,
    )
    op.create_index("ix_audit_log_target_key", "audit_log", ["target", "key"])
