"""The table of how far retention has come."""

from sqlalchemy import Column, Integer, Table

from service.store.schema_base import Big, metadata

#: One row: every event with a smaller key is forgotten, even if its row is still there.
retention = Table(
    "retention",
    metadata,
    Column("no", Integer, primary_key=True, autoincrement=False),
    Column("forgotten_before", Big, nullable=False),
)
