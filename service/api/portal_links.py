"""Links into the consumer portal: a producer's backend asks for one and hands it on."""

from typing import Annotated, Any, Final

import msgspec
from pydantic import AfterValidator, Field, WithJsonSchema

from service.api.links import Links
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.domain import times
from service.domain.api_keys import Scope
from service.domain.errors import Refusal
from service.domain.portal import (
    CONSUMER_SCOPES,
    DEFAULT_SCOPES,
    LINK_LIFETIME,
    LONGEST_LINK,
    LONGEST_SESSION,
    SESSION_LIFETIME,
)
from service.ports import Once, Replayed
from service.usecases.portals import IssuedLink, NewPortalLink
from service.web import answers
from service.web.answers import Answer
from service.web.calls import Call
from service.web.idempotency import Idempotency

_SCOPES: Final[dict[str, Any]] = {"enum": [scope.value for scope in CONSUMER_SCOPES]}
_PATH: Final = "/v1/portal-links"
_LINK: Final = LINK_LIFETIME / 1000
_SESSION: Final = SESSION_LIFETIME / 1000


def _scope(text: str) -> str:
    if text not in CONSUMER_SCOPES:
        raise ValueError(f"must be one of {', '.join(CONSUMER_SCOPES)}")
    return text


class PortalLinkBody(Body):
    """What a link is to show, to allow, and for how long."""

    subscription_id: str | None = None
    scopes: (
        Annotated[
            list[Annotated[str, AfterValidator(_scope), WithJsonSchema(_SCOPES)]],
            Field(min_length=1, max_length=len(CONSUMER_SCOPES)),
        ]
        | None
    ) = None
    ttl_seconds: Annotated[float, Field(ge=1, le=LONGEST_LINK / 1000)] = _LINK
    session_seconds: Annotated[float, Field(ge=60, le=LONGEST_SESSION / 1000)] = _SESSION

    def given(self) -> NewPortalLink:
        """The link in the domain's terms."""
        return NewPortalLink(
            subscription_id=self.subscription_id,
            scopes=DEFAULT_SCOPES if self.scopes is None else self.scopes,
            link_ms=times.seconds(self.ttl_seconds),
            session_ms=times.seconds(self.session_seconds),
        )


class PortalLinkOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A link; its address is shown this once."""

    id: str
    url: str
    tenant_id: str
    subscription_id: str | None = None
    scopes: list[str]
    expires_at: str
    session_seconds: float


class PortalLinks:
    """Handlers of links."""

    def __init__(self, services: Services, idempotency: Idempotency, links: Links) -> None:
        self._portals = services.portals
        self._idempotency = idempotency
        self._links = links

    def actions(self) -> list[Action]:
        """A link lets in whoever has it: to make one is for administrators."""
        needed = Scope.ADMIN
        return [
            Action("POST", _PATH, needed, self.create),
            Action("DELETE", f"{_PATH}/{{id}}", needed, self.revoke),
        ]

    async def create(self, call: Call) -> Answer | Refusal:
        """Make a link into the tenant that the key acts for."""
        given = await body_of(call, PortalLinkBody)
        if isinstance(given, Refusal):
            return given
        new = given[0].given()

        async def act(once: Once | None) -> IssuedLink | Refusal | Replayed:
            return await self._portals.issue(call.principal, new, once)

        return await self._idempotency.run(call, given[1], act, self._created, self._created)

    async def revoke(self, call: Call) -> Answer | Refusal:
        """End a link of the tenant that the key acts for, and its session."""
        refusal = await self._portals.revoke(call.principal, call.name())
        return Answer(204) if refusal is None else refusal

    def _created(self, made: IssuedLink) -> Answer:
        link = made.link
        shown = PortalLinkOut(
            id=link.id,
            url=self._links.portal(made.text),
            tenant_id=link.tenant_id,
            subscription_id=link.subscription_id,
            scopes=sorted(link.scopes),
            expires_at=times.render(link.ends_at),
            session_seconds=link.session_ms / 1000,
        )
        return answers.of(shown, 201)
