"""API keys: made, rotated, revoked. A key's text is shown once."""

from typing import Final

import msgspec

from service.console import forms
from service.console.forms import Filled
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain import times
from service.domain.api_keys import ApiKey, Scope
from service.domain.errors import Refusal, not_found
from service.ports import Replayed
from service.usecases.manage_keys import WithText
from service.web import queries
from service.web.answers import Answer
from service.web.listings import API_KEYS

_PATH: Final = "/keys"
_ONE: Final = f"{_PATH}/{{id}}"
#: Milliseconds after which a new key ends; the empty word is never.
LIVES: Final = {"": "never", "2592000000": "in 30 days", "31536000000": "in a year"}
#: Seconds for which the text from before a rotation is good too.
OVERLAPS: Final = {"0": "not at all", "3600": "for an hour", "86400": "for a day"}
#: Fields of the form that are no boxes.
_FIELDS: Final = ("name", "tenantId", "life")
_ALL: Final = API_KEYS.also({"done": queries.text})


class Keys:
    """Handlers of API keys."""

    def __init__(self, services: Services) -> None:
        self._manage = services.keys
        self._reads = services.key_reads
        self._read = services.bodies.api_key
        self._clock = services.clock

    def actions(self) -> list[Action]:
        """What administrators can do with keys."""
        needed = Scope.ADMIN
        return [
            Action("GET", _PATH, needed, self.index),
            Action("POST", _PATH, needed, self.create),
            Action("POST", f"{_ONE}/rotate", needed, self.rotate),
            Action("POST", f"{_ONE}/revoke", needed, self.revoke),
        ]

    async def index(self, visit: Visit) -> Page | Refusal:
        """Keys, newest first, whether or not they are in force."""
        return await self._listed(visit, Filled())

    async def create(self, visit: Visit) -> Page | Refusal:
        """Make one; its text is shown this once."""
        form = visit.form
        body: dict[str, object] = {
            "tenantId": form.one("tenantId"),
            "name": form.one("name"),
            "scopes": form.all("scopes"),
        }
        if form.one("life") in LIVES and form.one("life"):
            body["expiresAt"] = times.render(self._clock.now() + int(form.one("life")))
        new = self._read(msgspec.json.encode(body))
        if isinstance(new, Refusal):
            return await self._refused(visit, new)
        return await self._made(visit, await self._manage.create(visit.principal, new, None))

    async def rotate(self, visit: Visit) -> Page | Refusal:
        """Give one another text, which is shown this once."""
        overlap = visit.form.one("overlap")
        if overlap not in OVERLAPS:
            return not_found("overlap", overlap)
        rotated = await self._manage.rotate(visit.principal, visit.name(), float(overlap), None)
        return rotated if isinstance(rotated, Refusal) else await self._made(visit, rotated)

    async def revoke(self, visit: Visit) -> Answer | Refusal:
        """End one for good."""
        refusal = await self._manage.revoke(visit.principal, visit.name())
        return refusal or visit.to(f"{_PATH}?done=revoked")

    async def _made(self, visit: Visit, made: WithText | Refusal | Replayed) -> Page | Refusal:
        if isinstance(made, WithText):
            return Page("key.html", "API key", {"key": made.key, "text": made.text})
        if isinstance(made, Replayed):
            raise TypeError("A key without an Idempotency-Key was replayed.")
        return await self._refused(visit, made)

    async def _refused(self, visit: Visit, refusal: Refusal) -> Page | Refusal:
        """The list with the form of a new one as it was sent."""
        return await self._listed(visit, Filled(forms.texts_of(visit.form, _FIELDS), refusal))

    async def _listed(self, visit: Visit, filled: Filled) -> Page | Refusal:
        asked = _ALL.read(visit.request)
        if isinstance(asked, Refusal):
            return asked
        tenant_id = asked.which.get("tenant_id")
        page = await self._reads.keys(visit.principal, tenant_id, asked.span)
        now = self._clock.now()
        shown = {
            "items": [(each, standing(each, now)) for each in page.items],
            "given": visit.given,
            "filled": filled,
            "ticked": visit.form.all("scopes"),
            "scopes": list(Scope),
            "lives": LIVES,
            "overlaps": OVERLAPS,
            "further": page.next and _ALL.address_of(visit.request, page.next),
        }
        return Page("keys.html", "API keys", shown, status=filled.status)


def standing(key: ApiKey, now: int) -> str:
    """Whether a key lets anybody in at the moment ``now`` (ms)."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "in force"
