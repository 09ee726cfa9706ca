"""What guarded delivery, keys and tenants need."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Integer

revision = "0003"
down_revision = "0002"

Big = BigInteger().with_variant(Integer(), "sqlite")

_ADDED: dict[str, tuple[Column[Any], ...]] = {}


def upgrade() -> None:
    """Add columns, tables and their indexes."""
    for table, columns in _ADDED.items():
        for column in columns:
            op.add_column(table, column)
