"""One story in JSON: a sales report is made, its end is delivered, once in vain."""

from typing import Any, Final

#: In place of the public URL; the document has the real one there.
BASE: Final = "https://ringback.example"
SOCKET_BASE: Final = "wss://ringback.example"

_OPERATION_ID: Final = "op_0194bc3a5f400001a1b2c3d4"
_AT: Final = "2025-01-31T12:00:00.000Z"
_LATER: Final = "2025-01-31T12:00:41.250Z"
_HOOK: Final = "https://client.example/hooks/reports"
SECRET: Final = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # noqa: S105  nobody's: it stands in the document
_OPERATION_URL: Final = f"{BASE}/v1/operations/{_OPERATION_ID}"
_DELIVERY_ID: Final = "dlv_0194bc3b00620003000000a1"
_DEAD_LETTER_ID: Final = "dl_0194bc3b00620003000000a1"
_SUBSCRIPTION_ID: Final = "sub_0194bc1e77c80001e5f60718"

_LINKS: Final = {
    "self": _OPERATION_URL,
    "events": f"{_OPERATION_URL}/events",
    "stream": f"{_OPERATION_URL}/stream",
    "websocket": f"{SOCKET_BASE}/v1/operations/{_OPERATION_ID}/status",
}

NEW_OPERATION: Final = {"type": "report.sales", "metadata": {"region": "north"}}

CREATED_OPERATION: Final = {
    "operationId": _OPERATION_ID,
    "type": "report.sales",
    "status": "PENDING",
    "createdAt": _AT,
    "statusUrl": _OPERATION_URL,
    "pollInterval": {"recommended": 5, "minimum": 1},
    "links": {
        **_LINKS,
        "cancel": f"{_OPERATION_URL}/cancel",
    },
}

OPERATION: Final[dict[str, Any]] = {
    "operationId": _OPERATION_ID,
    "type": "report.sales",
    "status": "PROCESSING",
    "progress": {"current": 120, "total": 300, "percentage": 40.0},
    "sequence": 2,
    "createdAt": _AT,
    "startedAt": _AT,
    "updatedAt": _LATER,
    "metadata": {"region": "north"},
    "statusUrl": _OPERATION_URL,
    "pollInterval": {"recommended": 5, "minimum": 1},
    "links": CREATED_OPERATION["links"],
}

COMPLETED_OPERATION: Final = {
    "operationId": _OPERATION_ID,
    "type": "report.sales",
    "status": "COMPLETED",
    "sequence": 3,
    "createdAt": _AT,
    "startedAt": _AT,
    "updatedAt": _LATER,
    "completedAt": _LATER,
    "duration": 41.25,
    "result": {"url": "https://files.example/reports/77.pdf"},
    "statusUrl": _OPERATION_URL,
    "links": _LINKS,
}

CANCELLED_OPERATION: Final = {
    "operationId": _OPERATION_ID,
    "type": "report.sales",
    "status": "CANCELLED",
    "sequence": 3,
    "createdAt": _AT,
    "startedAt": _AT,
    "updatedAt": _LATER,
    "cancelledAt": _LATER,
    "duration": 41.25,
    "statusUrl": _OPERATION_URL,
    "links": _LINKS,
}

TICKET: Final = {
    "ticket": "tk_Zm9yLW9uZS1vcGVyYXRpb24tYW5kLWFuLWhvdXItMDA",
    "expiresAt": "2025-01-31T12:00:30.000Z",
    "reconnectUntil": "2025-01-31T13:00:00.000Z",
}

NEW_EVENT: Final = {
    "operationId": _OPERATION_ID,
    "type": "STATUS_UPDATE",
    "progress": {"current": 120, "total": 300},
    "message": "adding up",
}
#: Below an operation, nobody needs to name it.
NEW_EVENT_BELOW: Final = {key: NEW_EVENT[key] for key in ("type", "progress", "message")}
NEW_EVENT_LINES: Final = (
    '{"operationId": "job-3", "type": "STARTED"}\n{"operationId": "job-4", "type": "STARTED"}\n'
)

ACCEPTED: Final = {
    "id": "evt_0194bc3ad9100002b2c3d4e5",
    "operationId": _OPERATION_ID,
    "sequence": 2,
    "status": "PROCESSING",
    "duplicate": False,
}

EVENT: Final[dict[str, Any]] = {
    "id": "evt_0194bc3b00620003c3d4e5f6",
    "type": "COMPLETED",
    "timestamp": _LATER,
    "operationId": _OPERATION_ID,
    "operationType": "report.sales",
    "sequence": 3,
    "status": "COMPLETED",
    "result": {"url": "https://files.example/reports/77.pdf"},
}

CONFLICT: Final = {
    "type": f"{BASE}/problems/conflict",
    "title": "The present state does not allow this",
    "status": 409,
    "detail": "Operation 'job-3' is COMPLETED and cannot take another event: COMPLETED is final. "
    "Start a new operation instead.",
    "instance": "/v1/events",
    "currentStatus": "COMPLETED",
}

NEW_SUBSCRIPTION: Final[dict[str, Any]] = {
    "url": _HOOK,
    "eventTypes": ["COMPLETED", "FAILED"],
    "operationTypes": ["report.*"],
    "description": "the sales team",
}

SUBSCRIPTION: Final = {
    "id": _SUBSCRIPTION_ID,
    "url": _HOOK,
    "eventTypes": ["COMPLETED", "FAILED"],
    "operationTypes": ["report.*"],
    "description": "the sales team",
    "payload": "full",
    "ordering": "none",
    "signing": "hmac",
    "verification": "none",
    "status": "active",
    "createdAt": _AT,
    "updatedAt": _AT,
}
_PUBLIC_KEY: Final = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
KEY_SET: Final = {
    "keys": [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "use": "sig",
            "alg": "EdDSA",
        }
    ]
}
WITH_SECRET: Final = {**SUBSCRIPTION, "secret": SECRET}
SECRETS: Final = {
    "id": _SUBSCRIPTION_ID,
    "secret": SECRET,
    "secrets": [{"secret": SECRET, "createdAt": _AT}],
}

ATTEMPT: Final[dict[str, Any]] = {
    "id": "att_0194bc3b00620003000000a10001",
    "number": 1,
    "trigger": "schedule",
    "startedAt": _LATER,
    "durationMs": 182.4,
    "statusCode": 500,
    "errorClass": "http_status",
    "message": "The receiver answered 500 (Internal Server Error), which is not a 2xx.",
    "nextAttemptAt": "2025-01-31T12:00:46.400Z",
    "url": _HOOK,
    "request": {"headers": {"content-type": "application/json", "x-webhook-attempt": "1"}},
    "response": {
        "headers": {"content-type": "text/plain"},
        "body": "database is down",
        "bodyTruncated": False,
    },
    "timings": {"resolveMs": 1.2, "connectMs": 8.0, "tlsMs": 20.5, "firstByteMs": 180.9},
}
TRIAL: Final[dict[str, Any]] = {
    **{key: ATTEMPT[key] for key in ("id", "number", "startedAt", "durationMs", "url")},
    "trigger": "manual",
    "statusCode": 204,
    "event": {
        "id": "evt_0194bc3c40c80001d4e5f607",
        "type": "webhook.test",
        "timestamp": _LATER,
        "data": {"message": "This is a test of your webhook; nothing else happened."},
    },
}

LISTED_DELIVERY: Final = {
    "id": _DELIVERY_ID,
    "eventId": EVENT["id"],
    "eventType": "COMPLETED",
    "subscriptionId": _SUBSCRIPTION_ID,
    "operationId": _OPERATION_ID,
    "status": "pending",
    "attempts": 1,
    "attemptCount": 1,
    "createdAt": _LATER,
    "nextAttemptAt": "2025-01-31T12:00:46.400Z",
}
DELIVERY: Final = {**LISTED_DELIVERY, "attempts": [ATTEMPT]}
REOPENED: Final = {"deliveryId": _DELIVERY_ID}

DEAD_LETTER: Final = {
    "id": _DEAD_LETTER_ID,
    "deliveryId": _DELIVERY_ID,
    "subscriptionId": _SUBSCRIPTION_ID,
    "eventId": EVENT["id"],
    "eventType": "COMPLETED",
    "operationId": _OPERATION_ID,
    "sequence": 3,
    "reason": "attempts_exhausted",
    "state": "open",
    "attempts": 10,
    "lastOutcome": {"statusCode": 500, "errorClass": "http_status"},
    "deadAt": "2025-02-03T15:20:00.000Z",
    "replays": 0,
    "event": EVENT,
}
COUNT: Final = {
    "subscriptionId": _SUBSCRIPTION_ID,
    "reason": "attempts_exhausted",
    "errorClass": "http_status",
    "statusCode": 500,
    "count": 17,
    "firstDeadAt": "2025-02-03T15:20:00.000Z",
    "lastDeadAt": "2025-02-03T18:00:12.000Z",
}
UNDELIVERED: Final = {
    "eventId": EVENT["id"],
    "eventType": "COMPLETED",
    "operationId": _OPERATION_ID,
    "sequence": 3,
    "createdAt": _LATER,
    "status": "dead",
    "reason": "attempts_exhausted",
    "deliveryId": _DELIVERY_ID,
    "event": EVENT,
}

NEW_TENANT: Final = {"id": "acme", "name": "Acme"}
TENANT: Final = {
    **NEW_TENANT,
    "verification": "none",
    "portalOrigins": ["https://app.acme.example"],
    "createdAt": _AT,
}
NEW_PORTAL_LINK: Final = {"subscriptionId": _SUBSCRIPTION_ID}
PORTAL_LINK: Final = {
    "id": "pl_0194bc3a5f400003a1b2c3d4",
    "url": f"{BASE}/portal/enter#pl_Zm9yLW9uZS1vcGVuaW5nLW9mLXRoZS1wb3J0YWwtMDE",
    "tenantId": "acme",
    "subscriptionId": _SUBSCRIPTION_ID,
    "scopes": [
        "deliveries:read",
        "deliveries:replay",
        "operations:read",
        "subscriptions:read",
        "subscriptions:write",
    ],
    "expiresAt": "2025-01-31T12:05:00.000Z",
    "sessionSeconds": 3600.0,
}
NEW_API_KEY: Final = {"tenantId": "acme", "name": "producer", "scopes": ["events:write"]}
_KEY_ID: Final = "key_0194bc19d7700001a1b2c3d4"
API_KEY: Final = {
    "id": _KEY_ID,
    **NEW_API_KEY,
    "prefix": "rb_5f2c81d0",
    "createdAt": _AT,
    "lastUsedAt": _LATER,
}
WITH_KEY: Final = {
    **{name: value for name, value in API_KEY.items() if name != "lastUsedAt"},
    "key": "rb_5f2c81d0_bm9ib2R5cy1rZXk6LWl0LXN0YW5kcy1pbi1kb2NzLTA",
}
AUDIT_ENTRY: Final = {
    "id": "aud_0194bc19d7700002",
    "createdAt": _AT,
    "tenantId": "acme",
    "actor": "key_admin",
    "action": "api_key.created",
    "target": _KEY_ID,
    "detail": {"name": "producer", "scopes": ["events:write"], "expiresAt": None},
}
SUBSCRIPTION_STATS: Final = {
    "subscriptionId": _SUBSCRIPTION_ID,
    "status": "active",
    "deliveries": {"pending": 3, "delivering": 1, "delivered": 812, "dead": 2, "cancelled": 0},
    "deadLettersOpen": 2,
    "capped": False,
    "lastHour": {"attempts": 40, "succeeded": 39, "failed": 1, "successRate": 0.975},
    "lastDay": {"attempts": 830, "succeeded": 812, "failed": 18, "successRate": 0.9783},
    "durationMs": {"p50": 107.6, "p95": 430.5},
    "lastSuccessAt": _LATER,
    "circuit": {"state": "closed"},
    "concurrencyLimit": 16,
}
STATS: Final = {
    "inFlight": 12,
    "due": 3,
    "oldestDueAgeSeconds": 0.4,
    "deliveredPerMinute": 1240.5,
    "failedPerMinute": 3.0,
    "deliveryTimeMs": {"p50": 9.5, "p95": 107.6},
    "deadLettersOpen": 17,
    "circuits": {"open": 1, "halfOpen": 0},
}

REPLAY_DEAD_LETTERS: Final = {
    "subscriptionId": _SUBSCRIPTION_ID,
    "since": "2025-02-03T00:00:00Z",
    "ratePerSecond": 20,
}
REPLAY_SUBSCRIPTION: Final = {"since": "2025-01-31T00:00:00Z", "only": "missing"}
_REPLAY_ID: Final = "op_0194ccf9e2a00001f6071829"
REPLAY: Final = {
    "operationId": _REPLAY_ID,
    "type": "ringback.replay",
    "status": "PENDING",
    "sequence": 0,
    "createdAt": "2025-02-03T19:00:00.000Z",
    "updatedAt": "2025-02-03T19:00:00.000Z",
    "statusUrl": f"{BASE}/v1/operations/{_REPLAY_ID}",
    "pollInterval": {"recommended": 5, "minimum": 1},
    "links": {
        "self": f"{BASE}/v1/operations/{_REPLAY_ID}",
        "events": f"{BASE}/v1/operations/{_REPLAY_ID}/events",
        "stream": f"{BASE}/v1/operations/{_REPLAY_ID}/stream",
        "websocket": f"{SOCKET_BASE}/v1/operations/{_REPLAY_ID}/status",
        "cancel": f"{BASE}/v1/operations/{_REPLAY_ID}/cancel",
    },
    "dryRun": False,
    "matched": 17,
}
