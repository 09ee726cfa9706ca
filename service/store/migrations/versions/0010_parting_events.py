"""Events in parts by time too, on PostgreSQL, and how far retention has come in them.

The sweep makes the parts. What is there already stays one part, up to the end of tomorrow; what is
of no part's time is in ``events_rest``. The rows are read once while nobody may write or read an
event. Where there is nothing yet, the parts of today and tomorrow are made here: whatever comes
before the first sweep would lie in the rest else.

A unique index of all parts would need the key in it. What is unique besides, by operation and
sequence and by tenant and place in the feed, is so within each part: between them the locks of
these rows, under which the numbers are given, stand for it.
"""

from datetime import UTC, datetime

from alembic import op
from sqlalchemy import BigInteger, Column, Connection, Integer, text

from service.store.migrations.grants import copy_grants

revision = "0010"
down_revision = "0009"

Big = BigInteger().with_variant(Integer(), "sqlite")

#: A day of keys; see :mod:`service.domain.ids`.
_DAY = 86_400_000 << 21
_EPOCH = 1_577_836_800_000
_STORAGE = (
    "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, "
    "autovacuum_analyze_scale_factor = 0.02"
)
#: The first key of the day after tomorrow, or of the day after the newest there is.
_END = (
    "SELECT greatest(((extract(epoch FROM now()) * 1000)::bigint - :epoch << 21) / :day + 2, "
    "(SELECT max(key) FROM events_past) / :day + 1) * :day"
)
_TODAY = "SELECT ((extract(epoch FROM now()) * 1000)::bigint - :epoch << 21) / :day"
#: Whether a table has nothing but a rest without rows.
_IS_NEW = (
    "SELECT (SELECT count(*) FROM pg_inherits WHERE inhparent = '{0}'::regclass) = 1 "
    "AND NOT EXISTS (SELECT FROM {0}_rest)"
)
#: What is unique within each part besides its key.
_UNIQUE = (("operation_key", "sequence"), ("tenant_id", "feed_position"))
_KEY = "CONSTRAINT pk_events PRIMARY KEY (key)"
_PARENT = (
    "ALTER TABLE events RENAME TO events_past",
    "ALTER INDEX pk_events RENAME TO pk_events_past",
    f"CREATE TABLE events (LIKE events_past, {_KEY}) PARTITION BY RANGE (key)",
    f"CREATE TABLE events_rest PARTITION OF events DEFAULT WITH ({_STORAGE})",
)


def upgrade() -> None:
    """Note that nothing is forgotten; make the table of parts, the one of old the first of them."""
    retention = op.create_table(
        "retention",
        Column("no", Integer, primary_key=True, autoincrement=False),
        Column("forgotten_before", Big, nullable=False),
    )
    op.bulk_insert(retention, [{"no": 1, "forgotten_before": 0}])
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    _part_events(bind)
    copy_grants("attempts_past", "attempts")
    for table in ("events", "attempts"):
        if bind.scalar(text(_IS_NEW.format(table))):
            _make_first(bind, table)


def _part_events(bind: Connection) -> None:
    for statement in _PARENT:
        op.execute(statement)
    copy_grants("events_past", "events")
    for columns in _UNIQUE:
        name = "_".join(columns)
        op.execute(f"ALTER INDEX uq_events_{name} RENAME TO uq_events_past_{name}")
        op.create_index(f"uq_events_rest_{name}", "events_rest", columns, unique=True)
    if not bind.scalar(text("SELECT EXISTS (SELECT FROM events_past)")):
        op.execute("DROP TABLE events_past")
        return
    end = bind.scalar(text(_END), {"epoch": _EPOCH, "day": _DAY})
    op.execute(
        f"ALTER TABLE events ATTACH PARTITION events_past FOR VALUES FROM (MINVALUE) TO ({end})"
    )


def _make_first(bind: Connection, table: str) -> None:
    """Make the parts of today and tomorrow."""
    today = bind.scalar(text(_TODAY), {"epoch": _EPOCH, "day": _DAY})
    for low in (today * _DAY, (today + 1) * _DAY):
        at = datetime.fromtimestamp(((low >> 21) + _EPOCH) / 1000, UTC)
        name = f"{table}_{at:%Y%m%d}"
        op.execute(f"CREATE TABLE {name} (LIKE {table}_rest INCLUDING INDEXES) WITH ({_STORAGE})")
        op.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({low + _DAY})"
        )
