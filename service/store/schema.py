"""The tables. Times are whole ms, keys are :mod:`service.domain.ids` keys, JSON is bytes.

Only plain column types are used (integers, text, bytes), so that the same statements and the same
values go to SQLite and to PostgreSQL and no driver has to convert a row.

Open deliveries live in ``delivery_queue`` and finished ones in ``deliveries``: a pair (event,
subscription) has exactly one row in one of the two. ``delivery_queue.due_at`` is also the lease:
a claim moves it to the lease's end, so a delivery whose worker died is simply due again.
"""

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    literal_column,
    text,
)

import service.store.schema_health
import service.store.schema_portal
import service.store.schema_processes
import service.store.schema_retention
import service.store.schema_traffic  # noqa: F401  as above
from service.store import schema_base, schema_keys

#: What is asked of the schema, and of all tables.
Big, metadata = schema_base.Big, schema_base.metadata
_given, _those = schema_base.given, schema_base.those
audit_log, stream_tickets = schema_keys.audit_log, schema_keys.stream_tickets

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("feed_position", Big, nullable=False),
    # grows with every change of subscriptions or keys, so that no process works with stale ones
    Column("config_version", Big, nullable=False),
    # the last place of the feed whose event retention took: older cursors may have missed some
    Column("feed_floor", Big, nullable=False, server_default=text("0")),
    # how many subscriptions are for one operation only: where there is none, nobody looks for them
    Column("bound_subscriptions", Big, nullable=False, server_default=text("0")),
    # its place in lists: a key
    Column("no", Big, nullable=False, server_default=text("0")),
    # an id is never given twice: what is left of a deleted tenant is its row
    Column("deleted_at", Big),
    Column("purged_at", Big),
    # that of new subscriptions which say nothing of it
    Column("verification", Text, nullable=False, server_default=text("'none'")),
    # who may embed its portal, parted by spaces
    Column("portal_origins", Text, nullable=False, server_default=text("''")),
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
    # its place in lists: a key
    Column("no", Big, nullable=False, server_default=text("0")),
    Column("public", Text),
    Column("last_used_at", Big),
    # what it was before its last rotation, and until when that is good too
    Column("previous_hash", LargeBinary),
    Column("previous_until", Big),
    Index("ix_api_keys_tenant_id_no", "tenant_id", "no"),
)
Index(
    "uq_api_keys_previous_hash",
    api_keys.c.previous_hash,
    unique=True,
    **_given(api_keys.c.previous_hash),
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
    Column("ordering", Text, nullable=False, server_default=text("'none'")),
    Column("rate_limit_per_second", Float),
    Column("signing", Text, nullable=False, server_default=text("'hmac'")),
    Column("public_key", Text),
    Column("verification", Text, nullable=False, server_default=text("'none'")),
    Column("verified_at", Big),
    # what the receiver agreed to
    Column("allowed_per_minute", Integer),
    # sealed: client certificate, its key, authorities; and what may be shown of them, as JSON
    Column("tls", LargeBinary),
    Column("tls_facts", LargeBinary),
)

Index(
    "ix_subscriptions_bound",
    subscriptions.c.tenant_id,
    subscriptions.c.operation_id,
    **_given(subscriptions.c.operation_id),
)

# what accept keeps of a tenant, found beside any number of bound ones
Index(
    "ix_subscriptions_general",
    subscriptions.c.tenant_id,
    **_those(subscriptions.c.operation_id.is_(None)),
)

subscription_secrets = Table(
    "subscription_secrets",
    metadata,
    Column("subscription_no", Big, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Big, nullable=False),
    Column("expires_at", Big),
    # an Ed25519 key pair, where there is one: the private key sealed
    Column("sealed_key", LargeBinary),
    Column("public_key", Text),
)

Index(
    "ix_subscription_secrets_public_key",
    subscription_secrets.c.public_key,
    **_given(subscription_secrets.c.public_key),
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
    Column("client_job_id", Text),
    # what was said of it when it was described: durations in ms
    Column("expected_ms", Big),
    Column("ttl_ms", Big),
    Column("timeout_ms", Big),
    # when it is expected to end, when it has been silent for too long, when it stops being readable
    Column("estimated_at", Big),
    Column("silent_at", Big),
    Column("expires_at", Big),
    # since when only the tombstone is left
    Column("forgotten_at", Big),
    # ids: the operation it retries, the one that retries it, its own subscription
    Column("retry_of", Text),
    Column("retried_by", Text),
    Column("webhook_id", Text),
    Index("uq_operations_tenant_id_id", "tenant_id", "id", unique=True),
)

#: Tombstones are many times as many as what a list shows, and what the sweep looks for.
_is_kept = operations.c.forgotten_at.is_(None)

# the newest of a tenant first, without sorting all of them
Index(
    "ix_operations_tenant_id_key",
    operations.c.tenant_id,
    operations.c.key,
    **_those(_is_kept),
)
Index(
    "uq_operations_client_job_id",
    operations.c.tenant_id,
    operations.c.client_job_id,
    unique=True,
    **_given(operations.c.client_job_id),
)
Index("ix_operations_silent_at", operations.c.silent_at, **_given(operations.c.silent_at))
Index(
    "ix_operations_expires_at",
    operations.c.expires_at,
    **_those(and_(operations.c.expires_at.is_not(None), _is_kept)),
)
#: What few operations end in, in the words of its index: SQLite takes it only for the same ones.
ended_badly = operations.c.status.in_(
    [literal_column(f"'{status}'") for status in ("CANCELLED", "COMPLETED_WITH_ERRORS", "FAILED")]
)
Index(
    "ix_operations_ended_badly",
    operations.c.tenant_id,
    operations.c.status,
    operations.c.key,
    **_those(and_(ended_badly, _is_kept)),
)
Index(
    "ix_operations_type",
    operations.c.tenant_id,
    operations.c.type,
    operations.c.key,
    **_those(and_(operations.c.type.is_not(None), _is_kept)),
)
Index("ix_operations_tombstones", operations.c.ended_at, **_given(operations.c.forgotten_at))

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
    # on PostgreSQL unique within each part
    Index("uq_events_operation_key_sequence", "operation_key", "sequence", unique=True),
    Index("uq_events_tenant_id_feed_position", "tenant_id", "feed_position", unique=True),
)

#: Unique for as long as an event is kept, whatever becomes of how ``events`` is laid out.
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
    # attempts started so far, over all runs of the schedule
    Column("attempts", Integer, nullable=False),
    # attempts started in this run of the schedule
    Column("step", Integer, nullable=False),
    Column("trigger", Text, nullable=False),
    # the claim that holds this delivery: a key, whose time is the moment of the claim
    Column("token", Big),
    # in an ordered lane: the operation whose events go one after the other
    Column("operation_key", Big),
    Index("ix_delivery_queue_subscription_no_due_at", "subscription_no", "due_at"),
    sqlite_with_rowid=False,
)

#: Holds only what is in flight, so that the sweep finds leases that ran out without reading the
#: backlog.
Index(
    "ix_delivery_queue_leases",
    delivery_queue.c.due_at,
    **_given(delivery_queue.c.token),
)
Index(
    "ix_delivery_queue_ordered",
    delivery_queue.c.subscription_no,
    delivery_queue.c.operation_key,
    delivery_queue.c.event_key,
    **_given(delivery_queue.c.operation_key),
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

#: What few deliveries end in; as above.
undelivered = deliveries.c.status.in_(
    [literal_column(f"'{status}'") for status in ("cancelled", "dead")]
)
Index(
    "ix_deliveries_undelivered",
    deliveries.c.status,
    deliveries.c.event_key,
    deliveries.c.subscription_no,
    **_those(undelivered),
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
    # url, headers, response and timing parts, as JSON
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
    # the event as it was, kept past the event's own retention
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("operation_id", Text),
    Column("sequence", Big),
    Column("body", LargeBinary, nullable=False),
    Index("ix_dead_letters_tenant_id_state_event_key", "tenant_id", "state", "event_key"),
    Index("ix_dead_letters_subscription_no_state", "subscription_no", "state"),
    Index("ix_dead_letters_of_subscription", "subscription_no", "state", "event_key"),
)

#: Running and finished bulk replays; each belongs to an operation, which shows its progress.
replays = Table(
    "replays",
    metadata,
    Column("operation_key", Big, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),
    Column("operation_id", Text, nullable=False),
    # what to replay, as JSON
    Column("plan", LargeBinary, nullable=False),
    # how far it has come: everything before this pair is done
    Column("cursor_event", Big, nullable=False),
    Column("cursor_subscription", Big, nullable=False),
    # how many it is about, where that can be counted beforehand
    Column("matched", Big),
    Column("replayed", Big, nullable=False),
    Column("skipped", Big, nullable=False),
    Column("finished_at", Big),
    # the process that carries it through, and until when no other may
    Column("carrier", Integer),
    Column("carried_until", Big, nullable=False, server_default=text("0")),
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
