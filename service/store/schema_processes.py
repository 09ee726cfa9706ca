"""The tables of what processes that share a database agree on."""

from sqlalchemy import Column, Float, Integer, Table

from service.store.schema_base import Big, metadata

#: The numbers that keys have in them, and until when each is taken.
nodes = Table(
    "nodes",
    metadata,
    Column("no", Integer, primary_key=True, autoincrement=False),
    Column("taken_until", Big, nullable=False),
)

#: What has come together of the rates of lanes, and when that was reckoned last.
lane_paces = Table(
    "lane_paces",
    metadata,
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("tokens", Float, nullable=False),
    Column("filled_at", Big, nullable=False),
)
