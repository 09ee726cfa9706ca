"""What public keys, certificates and the verification of URLs need."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text, text

revision = "0005"
down_revision = "0004"

Big = BigInteger().with_variant(Integer(), "sqlite")

_ADDED: dict[str, tuple[Column[Any], ...]] = {
    "subscriptions": (
        Column("signing", Text, nullable=False, server_default=text("'hmac'")),
        Column("public_key", Text),
        Column("verification", Text, nullable=False, server_default=text("'none'")),
        Column("verified_at", Big),
        Column("allowed_per_minute", Integer),
        Column("tls", LargeBinary),
        Column("tls_facts", LargeBinary),
    ),
    "tenants": (Column("verification", Text, nullable=False, server_default=text("'none'")),),
    "subscription_secrets": (Column("sealed_key", LargeBinary), Column("public_key", Text)),
}


def upgrade() -> None:
    """Add columns, and an index of the public keys that are published."""
    for table, columns in _ADDED.items():
        for column in columns:
            op.add_column(table, column)
    public = text("public_key IS NOT NULL")
    op.create_index(
        "ix_subscription_secrets_public_key",
        "subscription_secrets",
        ["public_key"],
        sqlite_where=public,
        postgresql_where=public,
    )
