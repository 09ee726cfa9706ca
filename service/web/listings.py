"""The lists that both the API and the console show, and what narrows each."""

from typing import Any, Final

from service.domain.delivery import DeliveryStatus
from service.domain.operation import Status
from service.domain.retry import DeadReason
from service.domain.subscription import SubscriptionStatus
from service.ports import AuditFilter, DeadLetterFilter, DeliveryFilter, OperationFilter
from service.web import queries
from service.web.paging import Listing

_BETWEEN: Final = {"since": queries.moment, "until": queries.moment}

OPERATIONS: Final = Listing(
    "operations",
    1,
    {
        "status": queries.one_of(Status),
        "type": queries.text,
        "clientJobId": queries.text,
        "createdAfter": queries.moment,
        "createdBefore": queries.moment,
    },
    OperationFilter,
)
DELIVERIES: Final = Listing(
    "deliveries",
    2,
    {
        "status": queries.one_of(DeliveryStatus),
        "subscriptionId": queries.text,
        "operationId": queries.text,
        "eventId": queries.text,
        "eventType": queries.text,
        **_BETWEEN,
    },
    DeliveryFilter,
)
DEAD_LETTERS: Final = Listing(
    "dead-letters",
    2,
    {
        "subscriptionId": queries.text,
        "eventType": queries.text,
        "reason": queries.one_of(DeadReason),
        **_BETWEEN,
        "resolved": queries.flag,
    },
    DeadLetterFilter,
)
SUBSCRIPTIONS: Final = Listing(
    "subscriptions",
    1,
    {"status": queries.one_of(SubscriptionStatus), "operationId": queries.text},
    dict[str, Any],
)
API_KEYS: Final = Listing("api-keys", 1, {"tenantId": queries.text}, dict[str, Any])
TENANTS: Final = Listing("tenants", 1, {}, dict[str, Any])
AUDIT_LOG: Final = Listing(
    "audit-log",
    1,
    {"actor": queries.text, "action": queries.text, "target": queries.text, **_BETWEEN},
    AuditFilter,
)
