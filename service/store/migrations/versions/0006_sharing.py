"""What several processes need that work with one database."""

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, text

revision = "0006"
down_revision = "0005"

Big = BigInteger().with_variant(Integer(), "sqlite")

#: As many as the keys have room for.
_NODES = 256


def upgrade() -> None:
    """Add the numbers of processes, their common paces, and who carries bulk replays through."""
    nodes = op.create_table(
        "nodes",
        Column("no", Integer, primary_key=True, autoincrement=False),
        Column("taken_until", Big, nullable=False),
    )
    op.create_table(
        "lane_paces",
        Column("subscription_no", Big, primary_key=True, autoincrement=False),
        Column("tokens", Float, nullable=False),
        Column("filled_at", Big, nullable=False),
    )
    op.add_column("replays", Column("carrier", Integer))
    op.add_column("replays", Column("carried_until", Big, nullable=False, server_default=text("0")))
    op.bulk_insert(nodes, [{"no": number, "taken_until": 0} for number in range(_NODES)])
