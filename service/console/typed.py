"""What was typed into a form that was not taken, so that its page can show it to be copied.

Only to who sent it from a page of ours: a page elsewhere could else have its own words shown here.
"""

from typing import Final, NamedTuple

from starlette.requests import Request

from service.console.forms import texts_of
from service.console.sessions import is_from_here
from service.console.visits import LONG, SHORT, Form, form_of
from service.domain.errors import Refusal

#: In a scope: the form that was read, or why it could not be; a body is read once.
SENT: Final = "ringback.form"
#: Fields with what their pages call them. Not among them, and so never shown: secrets, keys,
#: certificates, and headers, whose values may be secrets.
LABELS: Final = {
    "id": "Id",
    "name": "Name",
    "tenantId": "Tenant",
    "url": "URL",
    "eventTypes": "Event types",
    "operationTypes": "Operation types",
    "description": "Description",
    "operationId": "Of one operation only",
    "payload": "Payload",
    "signing": "Signing",
    "verification": "Verification",
    "ordering": "Ordering",
    "timeoutSeconds": "Time-out in seconds",
    "retrySchedule": "Retry schedule",
    "rateLimitPerSecond": "Most deliveries per second",
    "maxConcurrency": "Most deliveries at once",
    "metadata": "Metadata",
    "portalOrigins": "Origins that may embed its portal",
    "note": "Note for the audit log",
}


class Typed(NamedTuple):
    """What stood in one field."""

    label: str
    text: str


async def read_form(request: Request, longest: int) -> Form | Refusal:
    """The form that was sent, which :func:`typed_in` finds again; ``longest`` is in bytes."""
    form = request.scope[SENT] = await form_of(request, longest)
    return form


async def typed_in(request: Request, *, is_known: bool) -> list[Typed]:
    """What was typed into the form that was sent; a stranger's may not be long."""
    if request.method != "POST" or not is_from_here(request):
        return []
    form: Form | Refusal | None = request.scope.get(SENT)
    if form is None:
        form = await read_form(request, LONG if is_known else SHORT)
    if isinstance(form, Refusal):
        return []
    texts = texts_of(form, LABELS)
    return [Typed(LABELS[name], text) for name, text in texts.items() if text]
