"""The first tables and the tenant that always exists.

What is here stays as it is: databases were made by it. Later changes are revisions of their own.
"""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    cast,
    extract,
    func,
)

revision = "0001"
down_revision = None

Big = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("feed_position", Big, nullable=False),
    Column("config_version", Big, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("expires_at", Big),
    Column("revoked_at", Big),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("no", Big, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant_id", Text, nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("event_types", LargeBinary, nullable=False),
    Column("operation_types", LargeBinary, nullable=False),
    Column("operation_id", Text),
    Column("description", Text),
    Column("headers", LargeBinary),
    Column("header_names", LargeBinary, nullable=False),
    Column("payload", Text, nullable=False),
    Column("timeout_seconds", Float),
    Column("retry_schedule", LargeBinary),
    Column("max_concurrency", Integer),
    Column("metadata", LargeBinary),
    Column("status", Text, nullable=False),
    Column("disabled_reason", Text),
    Column("hold_until", Big, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("updated_at", Big, nullable=False),
    Column("version", Integer, nullable=False),
    Column("deleted_at", Big),
)

subscription_secrets = Table(
    "subscription_secrets",
    metadata,
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("expires_at", Big),
)

operations = Table(
    "operations",
    metadata,
    Column("key", Big, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("type", Text),
    Column("status", Text, nullable=False),
    Column("sequence", Big, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("updated_at", Big, nullable=False),
    Column("started_at", Big),
    Column("ended_at", Big),
    Column("progress", LargeBinary),
    Column("result", LargeBinary),
    Column("error", LargeBinary),
    Column("warnings", LargeBinary),
    Column("metadata", LargeBinary),
    Column("described", Integer, nullable=False),
    Index("uq_operations_tenant_id_id", "tenant_id", "id", unique=True),
    Index("ix_operations_tenant_id_key", "tenant_id", "key"),
)

events = Table(
    "events",
    metadata,
    Column("key", Big, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("operation_key", Big),
    Column("operation_id", Text),
    Column("operation_type", Text),
    Column("sequence", Big),
    Column("status", Text),
    Column("created_at", Big, nullable=False),
    Column("feed_position", Big, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("uq_events_operation_key_sequence", "operation_key", "sequence", unique=True),
    Index("uq_events_tenant_id_feed_position", "tenant_id", "feed_position", unique=True),
)

event_ids = Table(
    "event_ids",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("event_key", Big, nullable=False),
    sqlite_with_rowid=False,
)

delivery_queue = Table(
    "delivery_queue",
    metadata,
    Column("event_key", Big, primary_key=True, autoincrement=False),
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("due_at", Big, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("token", Big),
    Index("ix_delivery_queue_subscription_no_due_at", "subscription_no", "due_at"),
    sqlite_with_rowid=False,
)

Index(
    "ix_delivery_queue_leases",
    delivery_queue.c.due_at,
    sqlite_where=delivery_queue.c.token.is_not(None),
    postgresql_where=delivery_queue.c.token.is_not(None),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("event_key", Big, primary_key=True, autoincrement=False),
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("finished_at", Big, nullable=False),
    Index("ix_deliveries_subscription_no_event_key", "subscription_no", "event_key"),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("event_key", Big, primary_key=True, autoincrement=False),
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("trigger", Text, nullable=False),
    Column("started_at", Big, nullable=False),
    Column("duration_ms", Float),
    Column("status_code", Integer),
    Column("error_class", Text),
    Column("message", Text),
    Column("next_attempt_at", Big),
    Column("detail", LargeBinary),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("event_key", Big, primary_key=True, autoincrement=False),
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("dead_at", Big, nullable=False),
    Column("resolved_at", Big),
    Column("replays", Integer, nullable=False),
    Column("status_code", Integer),
    Column("error_class", Text),
    Column("message", Text),
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("operation_id", Text),
    Column("sequence", Big),
    Column("body", LargeBinary, nullable=False),
    Index("ix_dead_letters_tenant_id_state_event_key", "tenant_id", "state", "event_key"),
    Index("ix_dead_letters_subscription_no_state", "subscription_no", "state"),
)

replays = Table(
    "replays",
    metadata,
    Column("operation_key", Big, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),
    Column("operation_id", Text, nullable=False),
    Column("plan", LargeBinary, nullable=False),
    Column("cursor_event", Big, nullable=False),
    Column("cursor_subscription", Big, nullable=False),
    Column("matched", Big),
    Column("replayed", Big, nullable=False),
    Column("skipped", Big, nullable=False),
    Column("finished_at", Big),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("created_at", Big, nullable=False, index=True),
    sqlite_with_rowid=False,
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("key", Big, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text),
    Index("ix_audit_log_tenant_id_key", "tenant_id", "key"),
)


def upgrade() -> None:
    """Make the tables and the tenant."""
    metadata.create_all(op.get_bind(), checkfirst=False)
    op.execute(
        tenants.insert().values(
            id="default",
            name="Default",
            created_at=cast(extract("epoch", func.current_timestamp()), BigInteger) * 1000,
            feed_position=0,
            config_version=1,
        )
    )
