"""What the consumer portal needs: links, and who may embed it."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text, text

revision = "0008"
down_revision = "0007"

Big = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Add a table with its indexes, and a column."""
    op.create_table(
        "portal_links",
        Column("hash", LargeBinary, primary_key=True),
        Column("id", Text, nullable=False),
        Column("tenant_id", Text, nullable=False),
        Column("key_id", Text, nullable=False),
        Column("subscription_id", Text),
        Column("scopes", Text, nullable=False),
        Column("created_at", Big, nullable=False),
        Column("ends_at", Big, nullable=False),
        Column("session_ms", Big, nullable=False),
        Column("opened_at", Big),
        sqlite_with_rowid=False,
    )
    op.create_index("uq_portal_links_id", "portal_links", ["id"], unique=True)
    op.create_index("ix_portal_links_tenant_id", "portal_links", ["tenant_id"])
    op.create_index("ix_portal_links_ends_at", "portal_links", ["ends_at"])
    op.add_column(
        "tenants", Column("portal_origins", Text, nullable=False, server_default=text("''"))
    )
