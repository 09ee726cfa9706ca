"""The table of the consumer portal."""

from sqlalchemy import Column, Index, LargeBinary, Table, Text

from service.store.schema_base import Big, metadata

#: What opens the portal, then the session it opened; only a hash of each secret is kept.
portal_links = Table(
    "portal_links",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    # what stands for a key's id where somebody who came by the link does something
    Column("id", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    # the one subscription it shows; without it all of the tenant
    Column("subscription_id", Text),
    Column("scopes", Text, nullable=False),
    Column("created_at", Big, nullable=False),
    # until when it may be opened; once it is, until when its session lasts
    Column("ends_at", Big, nullable=False),
    Column("session_ms", Big, nullable=False),
    Column("opened_at", Big),
    Index("uq_portal_links_id", "id", unique=True),
    Index("ix_portal_links_tenant_id", "tenant_id"),
    Index("ix_portal_links_ends_at", "ends_at"),
    sqlite_with_rowid=False,
)
