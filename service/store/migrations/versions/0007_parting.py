"""Attempts in parts by time, on PostgreSQL: retention drops a part whole.

The sweep makes the parts. What is there already stays one part, up to the end of tomorrow; what is
of no part's time is in ``attempts_rest``. The rows are read once while nobody may write or read an
attempt.
"""

from alembic import op
from sqlalchemy import text

from service.store.migrations.grants import copy_grants

revision = "0007"
down_revision = "0006"

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
    "(SELECT max(event_key) FROM attempts_past) / :day + 1) * :day"
)
_KEY = "CONSTRAINT pk_attempts PRIMARY KEY (event_key, subscription_no, number)"
_PARENT = (
    "ALTER TABLE attempts RENAME TO attempts_past",
    "ALTER INDEX pk_attempts RENAME TO pk_attempts_past",
    f"CREATE TABLE attempts (LIKE attempts_past, {_KEY}) PARTITION BY RANGE (event_key)",
    f"CREATE TABLE attempts_rest PARTITION OF attempts DEFAULT WITH ({_STORAGE})",
)


def upgrade() -> None:
    """Make the table of parts, of which the one of old is the first unless it is empty."""
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    for statement in _PARENT:
        op.execute(statement)
    copy_grants("attempts_past", "attempts")
    if not bind.scalar(text("SELECT EXISTS (SELECT FROM attempts_past)")):
        op.execute("DROP TABLE attempts_past")
        return
    end = bind.scalar(text(_END), {"epoch": _EPOCH, "day": _DAY})
    op.execute(
        f"ALTER TABLE attempts ATTACH PARTITION attempts_past FOR VALUES FROM (MINVALUE) TO ({end})"
    )
