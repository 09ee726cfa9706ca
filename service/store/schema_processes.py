"""The tables of what processes that share a database agree on."""

from sqlalchemy import Column, Integer, Table

from service.store.schema_base import Big, metadata

#: The numbers that keys have in them, and until when each is taken.
nodes = Table(
    "nodes",
    metadata,
    Column("no", Integer, primary_key=True, autoincrement=False),
    Column("taken_until", Big, nullable=False),
)
