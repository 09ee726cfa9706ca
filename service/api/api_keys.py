"""API keys: made, listed, rotated, revoked. A key's text is shown once, when it is made."""

from typing import Annotated, Any, Final

import msgspec
from pydantic import AfterValidator, Field, WithJsonSchema

from service.api.fields import Id, MomentText, Name
from service.api.links import Links
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.domain import times
from service.domain.api_keys import ApiKey, Scope
from service.domain.errors import Refusal, not_found
from service.ports import Once, Replayed
from service.usecases.manage_keys import NewApiKey, WithText
from service.web import answers
from service.web.answers import Answer
from service.web.calls import Call
from service.web.idempotency import Idempotency
from service.web.listings import API_KEYS

_PATH: Final = "/v1/api-keys"
_ONE: Final = f"{_PATH}/{{id}}"
_MAX_OVERLAP: Final = 30 * 86_400
_SCOPES: Final[dict[str, Any]] = {"enum": [scope.value for scope in Scope]}


def _scope(text: str) -> str:
    if text not in set(Scope):
        raise ValueError(f"must be one of {', '.join(Scope)}")
    return text


class ApiKeyBody(Body):
    """A new key."""

    tenant_id: Id
    name: Name
    scopes: Annotated[
        list[Annotated[str, AfterValidator(_scope), WithJsonSchema(_SCOPES)]],
        Field(min_length=1, max_length=len(Scope)),
    ]
    expires_at: MomentText | None = None

    def given(self) -> NewApiKey:
        """The key in the domain's terms."""
        expires = None if self.expires_at is None else times.parse(self.expires_at)
        return NewApiKey(self.tenant_id, self.name, frozenset(self.scopes), expires)


class RotateKeyBody(Body):
    """How long the present key stays good."""

    overlap_seconds: Annotated[float, Field(ge=0, le=_MAX_OVERLAP)] = 0.0


class ApiKeyOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A key; its text is shown when it is made, and never again."""

    id: str
    tenant_id: str
    name: str
    scopes: list[str]
    prefix: str | None = None
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None
    previous_key_until: str | None = None
    key: str | None = None


class ApiKeys:
    """Handlers of API keys."""

    def __init__(self, services: Services, idempotency: Idempotency, links: Links) -> None:
        self._manage = services.keys
        self._reads = services.key_reads
        self._idempotency = idempotency
        self._links = links

    def actions(self) -> list[Action]:
        """What administrators can do with keys."""
        needed = Scope.ADMIN
        return [
            Action("POST", _PATH, needed, self.create),
            Action("GET", _PATH, needed, self.list),
            Action("GET", _ONE, needed, self.get),
            Action("DELETE", _ONE, needed, self.revoke),
            Action("POST", f"{_ONE}/rotate", needed, self.rotate),
        ]

    async def create(self, call: Call) -> Answer | Refusal:
        """Make a key; its text is shown this once."""
        given = await body_of(call, ApiKeyBody)
        if isinstance(given, Refusal):
            return given
        new = given[0].given()

        async def act(once: Once | None) -> WithText | Refusal | Replayed:
            return await self._manage.create(call.principal, new, once)

        return await self._idempotency.run(call, given[1], act, self._created, self._created)

    async def list(self, call: Call) -> Answer | Refusal:
        """Keys, newest first, whether or not they are in force."""
        asked = API_KEYS.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        tenant_id = asked.which.get("tenant_id")
        page = await self._reads.keys(call.principal, tenant_id, asked.span)
        return API_KEYS.answer(call.request, page, shown, self._links.base)

    async def get(self, call: Call) -> Answer | Refusal:
        """One key."""
        found = await self._reads.key(call.principal, call.name())
        return not_found("API key", call.name()) if found is None else answers.of(shown(found))

    async def revoke(self, call: Call) -> Answer | Refusal:
        """End a key for good."""
        refusal = await self._manage.revoke(call.principal, call.name())
        return Answer(204) if refusal is None else refusal

    async def rotate(self, call: Call) -> Answer | Refusal:
        """Give a key another text, which is shown this once."""
        given = await body_of(call, RotateKeyBody)
        if isinstance(given, Refusal):
            return given
        overlap = given[0].overlap_seconds

        async def act(once: Once | None) -> WithText | Refusal | Replayed:
            return await self._manage.rotate(call.principal, call.name(), overlap, once)

        return await self._idempotency.run(call, given[1], act, _rotated, _rotated)

    def _created(self, made: WithText) -> Answer:
        location = ("location", self._links.api_key(made.key.id))
        return answers.of(shown(made.key, made.text), 201, (location,))


def _rotated(made: WithText) -> Answer:
    return answers.of(shown(made.key, made.text))


def shown(key: ApiKey, text: str | None = None) -> ApiKeyOut:
    """The key; with its text where that is shown this once."""
    return ApiKeyOut(
        id=key.id,
        tenant_id=key.tenant_id,
        name=key.name,
        scopes=sorted(key.scopes),
        prefix=None if key.public is None else f"rb_{key.public}",
        created_at=times.render(key.created_at),
        expires_at=_time(key.expires_at),
        revoked_at=_time(key.revoked_at),
        last_used_at=_time(key.last_used_at),
        previous_key_until=_time(key.previous_until),
        key=text,
    )


def _time(at: int | None) -> str | None:
    return None if at is None else times.render(at)
