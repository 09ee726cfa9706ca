"""What several processes need that work with one database."""

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, text

revision = "0006"
down_revision = "0005"

Big = BigInteger().with_variant(Integer(), "sqlite")

#: As many as the keys have room for.
_NODES = 256


#: Vacuumed after so many dead rows, however large the table is, and without a pause: what is dead
#: here is read again and again.
_EAGER = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 2_000,
    "autovacuum_vacuum_cost_delay": 0,
    "autovacuum_analyze_scale_factor": 0.05,
}
#: Rows are only added, and long after that deleted.
_GROWING = {
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
    "autovacuum_analyze_scale_factor": 0.02,
}
#: Rows are changed in place, in columns that no index has: there is to be room for that. Not so in
#: the queue, whose changes are of indexed columns.
_CHANGING = {**_EAGER, "autovacuum_vacuum_threshold": 200}
_STORAGE: dict[str, dict[str, float]] = {
    "delivery_queue": _EAGER,
    "tenants": {**_CHANGING, "fillfactor": 50},
    "subscription_health": {**_CHANGING, "fillfactor": 70},
    "attempt_tallies": {**_CHANGING, "fillfactor": 80},
    "lane_paces": {**_CHANGING, "fillfactor": 50},
    "operations": {**_GROWING, "fillfactor": 85},
    "events": _GROWING,
    "event_ids": _GROWING,
    "deliveries": _GROWING,
    "attempts": _GROWING,
    "dead_letters": {**_GROWING, "fillfactor": 90},
    "idempotency_keys": _GROWING,
}


def upgrade() -> None:
    """Add the numbers of processes, their common paces, and who carries bulk replays through.

    On PostgreSQL, also say how each table grows.
    """
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
    if op.get_bind().dialect.name == "postgresql":
        for table, options in _STORAGE.items():
            told = ", ".join(f"{name} = {value}" for name, value in options.items())
            op.execute(f"ALTER TABLE {table} SET ({told})")
    op.bulk_insert(nodes, [{"no": number, "taken_until": 0} for number in range(_NODES)])
