"""What each action does, in tables by method and path; the handlers know nothing of them."""

from typing import Final

from service.api.openapi.describing import Table
from service.api.openapi.tables import (
    administration,
    deliveries,
    events,
    following,
    operations,
    public,
    subscriptions,
)

#: Who reads the document reads it in this order.
TABLE: Final[Table] = {
    **following.TABLE,
    **events.TABLE,
    **operations.TABLE,
    **subscriptions.TABLE,
    **deliveries.TABLE,
    **administration.TABLE,
    **public.TABLE,
}
