"""Who lets visitors in to each set of pages, and what tells them why not."""

from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlencode

from starlette.requests import Request

from service.console.bounds import Bounds, holds
from service.console.layout import Layout
from service.console.sessions import Session, Sessions
from service.console.visits import Action, Guest, Page, Visit
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind
from service.ports import ReadStore
from service.usecases.portals import Portals
from service.web import authentication
from service.web.answers import Answer
from service.web.authentication import Doorkeeper
from service.web.telling import WHO

#: Of paths that name one thing.
_NAMED: Final = "{id}"
#: Where a key is asked for.
SIGN_IN: Final = "/sign-in"
NOTHING_HERE: Final = Refusal(
    RefusalKind.NOT_FOUND, "There is no such page, or not to be asked for in this way."
)
_SIGNED_OUT: Final = Refusal(
    RefusalKind.UNAUTHENTICATED,
    "The session is over, and nothing was done. Sign in again, and do it then.",
)
_LET_OUT: Final = Refusal(
    RefusalKind.UNAUTHENTICATED,
    "The session is over, and nothing was done. Open the portal again from the application that "
    "led here, and do it then.",
)
_OVER: Final = Refusal(
    RefusalKind.UNAUTHENTICATED,
    "There is no session here: it is over, or this browser keeps none. Open the portal again from "
    "the application that led here.",
)


class Entrance(Protocol):
    """The way in to a set of pages."""

    @property
    def layout(self) -> Layout:
        """How its pages look."""

    @property
    def sessions(self) -> Sessions:
        """How its sessions are kept."""

    @property
    def doorkeeper(self) -> Doorkeeper:
        """Who counts requests and guesses."""

    @property
    def out(self) -> Refusal:
        """Why a form of somebody whose session is over does nothing, and what to do next."""

    async def admit(self, request: Request, session: Session) -> Guest | Refusal:
        """Who a session is, now."""

    def authorize(self, visit: Visit, needed: Scope) -> Refusal | None:
        """Why the visitor may not do what needs this scope; ``None`` when he may."""

    async def refuse(self, visit: Visit, action: Action) -> Refusal | None:
        """Why this is not for the visitor, whatever his scopes."""

    def stranger(self, request: Request) -> Answer:
        """What somebody without a session gets who wanted to look at something."""


@dataclass(frozen=True, slots=True)
class ConsoleEntrance:
    """Lets in who has shown a key."""

    doorkeeper: Doorkeeper
    sessions: Sessions
    layout: Layout
    out: Refusal = _SIGNED_OUT

    async def admit(self, request: Request, session: Session) -> Guest | Refusal:
        """Who a session is; one whose tenant is gone acts for its own again."""
        admit = self.doorkeeper.admit_known
        found = await admit(request, session.digest, session.tenant)
        if isinstance(found, Refusal) and found.kind is RefusalKind.NOT_FOUND:
            found = await admit(request, session.digest, None)
        return found if isinstance(found, Refusal) else Guest(found)

    def authorize(self, visit: Visit, needed: Scope) -> Refusal | None:
        """As of the API."""
        return authentication.authorize(visit.principal, needed)

    async def refuse(self, visit: Visit, action: Action) -> Refusal | None:
        """Scopes say it all."""

    def stranger(self, request: Request) -> Answer:
        """Sign in first; what was asked for comes then."""
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            # a link elsewhere led here, and so the browser kept the cookie to itself
            return self.layout.page(request, None, Page("hop.html", "One moment"))
        root, asked = self.layout.site.root, self.layout.here(request)
        where = root + SIGN_IN
        if asked != root:
            where = f"{where}?{urlencode({'next': asked})}"
        if "hx-request" in request.headers:  # a part of a page: all of it has to go
            return Answer(401, headers=(("hx-redirect", where),))
        return Answer(303, headers=(("location", where),))


@dataclass(frozen=True, slots=True)
class PortalEntrance:
    """Lets in who came by a link."""

    doorkeeper: Doorkeeper
    sessions: Sessions
    layout: Layout
    portals: Portals
    reads: ReadStore
    out: Refusal = _LET_OUT

    async def admit(self, request: Request, session: Session) -> Guest | Refusal:
        """Who a session is; its link counts as a key."""
        found = await self.portals.guest(session.digest)
        if found is None:
            return _OVER
        who = request.scope[WHO] = found.principal
        refusal = self.doorkeeper.limits.refuse(request.scope, who.key_id)
        return refusal or Guest(who, Bounds(found.subscription), found.origins)

    def authorize(self, visit: Visit, needed: Scope) -> Refusal | None:
        """Who asked for the link has decided that."""
        if visit.may(needed):
            return None
        said = f"This needs the scope {needed.value!r}, which the link that led here does not have."
        return Refusal(RefusalKind.FORBIDDEN, said)

    async def refuse(self, visit: Visit, action: Action) -> Refusal | None:
        """What is not of the visitor's one subscription, where he has only that, is not there."""
        one = visit.bounds.subscription
        if one is None:
            return None
        if action.whole:
            return NOTHING_HERE
        if _NAMED not in action.path:
            return None
        known = await holds(self.reads, visit.tenant, one, action.path, visit.name())
        return None if known else NOTHING_HERE

    def stranger(self, request: Request) -> Answer:
        """Nobody gets in here but by a link."""
        if "hx-request" in request.headers:
            return Answer(401, headers=(("hx-redirect", self.layout.site.root),))
        return self.layout.refused(request, None, _OVER)
