"""What tables show of each kind of thing."""

from typing import Final

from service.cli import exact
from service.cli.moments import short
from service.cli.render import Column


def _patterns(text: str) -> str:
    """A JSON array of patterns as they are written on a command line."""
    return text.strip("[]").replace('"', "")


def _faults(text: str) -> str:
    """What is wrong by a problem document: each fault, or where none is named what it says."""
    problem = exact.loads(text)
    faults = [f"{each['pointer'] or '/'}: {each['detail']}" for each in problem.get("errors", [])]
    return "; ".join(faults) or str(problem["detail"])


EVENT: Final = (
    Column("time", "timestamp", short),
    Column("event", "id"),
    Column("type", "type"),
    Column("operation", "operationId"),
    Column("sequence", "sequence"),
    Column("status", "status"),
    Column("message", "message", is_text=True),
)
ACCEPTED: Final = (
    Column("event", "id"),
    Column("operation", "operationId"),
    Column("sequence", "sequence"),
    Column("status", "status"),
    Column("duplicate", "duplicate"),
)
OPERATION: Final = (
    Column("operation", "operationId"),
    Column("type", "type"),
    Column("status", "status"),
    Column("sequence", "sequence"),
    Column("created", "createdAt", short),
    Column("seconds", "duration"),
)
OPERATION_CARD: Final = (
    *OPERATION,
    Column("client job", "clientJobId"),
    Column("progress", "progress"),
    Column("updated", "updatedAt", short),
    Column("expected", "estimatedCompletion", short),
    Column("result", "result"),
    Column("error", "error"),
    Column("warnings", "warnings"),
    Column("metadata", "metadata"),
    Column("retry of", "retryOf"),
    Column("readable until", "expiresAt", short),
)
SUBSCRIPTION: Final = (
    Column("subscription", "id"),
    Column("status", "status"),
    Column("url", "url", is_text=True),
    Column("events", "eventTypes", _patterns, is_text=True),
    Column("description", "description", is_text=True),
)
SUBSCRIPTION_CARD: Final = (
    *SUBSCRIPTION,
    Column("secret", "secret"),
    Column("disabled because", "disabledReason"),
    Column("operation types", "operationTypes", _patterns),
    Column("operation", "operationId"),
    Column("headers", "headers"),
    Column("payload", "payload"),
    Column("ordering", "ordering"),
    Column("signing", "signing"),
    Column("public key", "publicKey"),
    Column("verification", "verification"),
    Column("time-out, s", "timeoutSeconds"),
    Column("retry schedule, s", "retrySchedule"),
    Column("at once", "maxConcurrency"),
    Column("per second", "rateLimitPerSecond"),
    Column("client certificate", "clientCertificate"),
    Column("authorities", "caCertificate"),
    Column("metadata", "metadata"),
    Column("created", "createdAt", short),
    Column("updated", "updatedAt", short),
)
STATS_CARD: Final = (
    Column("subscription", "subscriptionId"),
    Column("status", "status"),
    Column("circuit", "circuit.state"),
    Column("circuit open until", "circuit.openUntil", short),
    Column("held until", "holdUntil", short),
    *(
        Column(status, f"deliveries.{status}")
        for status in ("pending", "delivering", "delivered", "dead", "cancelled")
    ),
    Column("dead letters open", "deadLettersOpen"),
    Column("last hour: attempts", "lastHour.attempts"),
    Column("last hour: success", "lastHour.successRate"),
    Column("last day: attempts", "lastDay.attempts"),
    Column("last day: success", "lastDay.successRate"),
    Column("attempt p50, ms", "durationMs.p50"),
    Column("attempt p95, ms", "durationMs.p95"),
    Column("last success", "lastSuccessAt", short),
    Column("last failure", "lastFailureAt", short),
    Column("failing since", "failingSince", short),
    Column("at once", "concurrencyLimit"),
)
DELIVERY: Final = (
    Column("delivery", "id"),
    Column("status", "status"),
    Column("type", "eventType"),
    Column("attempts", "attemptCount"),
    Column("operation", "operationId"),
    Column("subscription", "subscriptionId"),
    Column("next attempt", "nextAttemptAt", short),
    Column("created", "createdAt", short),
    Column("finished", "finishedAt", short),
)
DELIVERY_CARD: Final = (
    *DELIVERY,
    Column("waits for", "waitsForDeliveryId"),
    Column("event", "eventId"),
)
ATTEMPT: Final = (
    Column("attempt", "number"),
    Column("trigger", "trigger"),
    Column("started", "startedAt", short),
    Column("ms", "durationMs"),
    Column("answer", "statusCode"),
    Column("error", "errorClass"),
    Column("what happened", "message", is_text=True, is_needed=True),
    Column("next", "nextAttemptAt", short),
)
TRIAL_CARD: Final = (
    Column("url", "url", is_text=True),
    Column("ms", "durationMs"),
    Column("answer", "statusCode"),
    Column("error", "errorClass"),
    Column("what happened", "message", is_text=True),
    Column("response", "response.body"),
    Column("response is in", "response.bodyEncoding", "{}, since it is not text".format),
)
DEAD_LETTER: Final = (
    Column("dead letter", "id"),
    Column("state", "state"),
    Column("reason", "reason"),
    Column("type", "eventType"),
    Column("attempts", "attempts"),
    Column("answer", "lastOutcome.statusCode"),
    Column("error", "lastOutcome.errorClass"),
    Column("operation", "operationId"),
    Column("subscription", "subscriptionId"),
    Column("dead since", "deadAt", short),
)
DEAD_LETTER_CARD: Final = (
    *DEAD_LETTER,
    Column("what happened", "lastOutcome.message"),
    Column("delivery", "deliveryId"),
    Column("event", "eventId"),
    Column("replays", "replays"),
    Column("resolved", "resolvedAt", short),
)
SUMMARY: Final = (
    Column("count", "count"),
    Column("subscription", "subscriptionId"),
    Column("reason", "reason"),
    Column("error", "errorClass"),
    Column("answer", "statusCode"),
    Column("first", "firstDeadAt", short),
    Column("last", "lastDeadAt", short),
)
KEY: Final = (
    Column("key id", "id"),
    Column("tenant", "tenantId"),
    Column("name", "name", is_text=True),
    Column("scopes", "scopes", _patterns, is_text=True),
    Column("begins with", "prefix"),
    Column("created", "createdAt", short),
    Column("expires", "expiresAt", short),
    Column("revoked", "revokedAt", short),
    Column("last used", "lastUsedAt", short),
)
KEY_CARD: Final = (*KEY, Column("key", "key"))
PORTAL_LINK_CARD: Final = (
    Column("portal link", "id"),
    Column("tenant", "tenantId"),
    Column("subscription", "subscriptionId"),
    Column("scopes", "scopes", _patterns, is_text=True),
    Column("open it until", "expiresAt", short),
    Column("session seconds", "sessionSeconds"),
    Column("address", "url"),
)
SECRET: Final = (
    Column("secret", "secret"),
    Column("created", "createdAt", short),
    Column("signs until", "expiresAt", short),
    Column("public key", "publicKey"),
)


def posted(counted: str) -> tuple[Column, ...]:
    """Events of a file: what became of each, and of what was refused the place in the file."""
    return (
        *ACCEPTED,
        Column(counted, counted),
        Column("refused", "problem", _faults, is_text=True, is_needed=True),
    )
