"""What lists need that show few of many.

PostgreSQL reads operations twice, deliveries and dead letters once, and meanwhile lets nobody write
to them: all of a revision is one transaction, in which no index can be made beside writers.
"""

from alembic import op
from sqlalchemy import text

revision = "0009"
down_revision = "0008"

_ENDED_BADLY = "status IN ('CANCELLED', 'COMPLETED_WITH_ERRORS', 'FAILED') AND forgotten_at IS NULL"
_TYPED = "type IS NOT NULL AND forgotten_at IS NULL"
_UNDELIVERED = "status IN ('cancelled', 'dead')"


def upgrade() -> None:
    """Add indexes."""
    _index("ended_badly", "operations", ["tenant_id", "status", "key"], _ENDED_BADLY)
    _index("type", "operations", ["tenant_id", "type", "key"], _TYPED)
    _index("undelivered", "deliveries", ["status", "event_key", "subscription_no"], _UNDELIVERED)
    op.create_index(
        "ix_dead_letters_of_subscription", "dead_letters", ["subscription_no", "state", "event_key"]
    )


def _index(name: str, table: str, columns: list[str], where: str) -> None:
    """An index of the rows of which ``where`` is so."""
    op.create_index(
        f"ix_{table}_{name}",
        table,
        columns,
        sqlite_where=text(where),
        postgresql_where=text(where),
    )
