"""Addresses: one :class:`Resource` answers all methods of a path with a page, whatever happens."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive
from starlette.types import Scope as HttpScope

from service.console.layout import Layout, here
from service.console.sessions import Session, Sessions, is_from_here
from service.console.visits import NO_FORM, ROOT, Action, Form, Page, Visit, form_of
from service.domain.errors import Refusal, RefusalKind
from service.ports import Principal, SealError, StoreUnavailableError
from service.web import answers, problems, resources
from service.web.answers import Answer
from service.web.authentication import Doorkeeper, authorize
from service.web.calls import Streamed
from service.web.problems import instance_of

_logger = logging.getLogger(__name__)

_HEAD: Final = "HEAD"
_GET: Final = "GET"
_POST: Final = "POST"
SIGN_IN: Final = f"{ROOT}/sign-in"


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who lets visitors in, and what tells them why not."""

    doorkeeper: Doorkeeper
    sessions: Sessions
    layout: Layout

    async def visitor(self, request: Request, session: Session) -> Principal | Refusal:
        """Who a session is; one whose tenant is gone acts for its own again."""
        admit = self.doorkeeper.admit_known
        found = await admit(request, session.digest, session.tenant)
        if isinstance(found, Refusal) and found.kind is RefusalKind.NOT_FOUND:
            return await admit(request, session.digest, None)
        return found


def routes(actions: Iterable[Action], entrance: Entrance) -> list[Route]:
    """One route a path; paths are tried in the order in which they first appear."""
    found = resources.by_path(actions)
    return [Route(ROOT + path, Resource(by, entrance)) for path, by in found.items()]


class Resource(resources.Resource[Action]):
    """An ASGI application that answers the methods of one path to who is signed in."""

    def __init__(self, actions: Mapping[str, Action], entrance: Entrance) -> None:
        super().__init__(actions, entrance.doorkeeper)
        self._entrance = entrance
        self._layout = entrance.layout

    async def _answer(self, scope: HttpScope, receive: Receive) -> Answer | Streamed:
        request = Request(scope, receive)
        session = self._entrance.sessions.of(request)
        visit = None
        try:
            if session is None:
                return self._stranger(request)
            principal = await self._entrance.visitor(request, session)
            if isinstance(principal, Refusal):
                return self._turned_away(request, principal)
            visit = Visit(request, principal, session)
            return self._shown(visit, await self._act(visit))
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001  a page is answered to whatever happens
            return self._failed(request, visit, error)

    async def _act(self, visit: Visit) -> Page | Answer | Refusal | Streamed:
        action = self._actions.get(visit.request.method)
        if action is None:
            return _NOTHING_HERE
        refusal = None if action.scope is None else authorize(visit.principal, action.scope)
        if refusal is not None:
            return refusal
        if "\0" in visit.request.scope["path"]:
            return _NOTHING_HERE  # some databases cannot even be asked for NUL
        form: Form | Refusal = NO_FORM
        if visit.request.method == _POST:
            form = await own_form(visit.request, visit.session)
        if isinstance(form, Refusal):
            return form
        return await action.handler(replace(visit, form=form))

    def _stranger(self, request: Request) -> Answer:
        """Sign in first; what was asked for comes then, where it only shows something."""
        if request.method not in (_GET, _HEAD):
            return self._layout.refused(request, None, _SIGNED_OUT)
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            # a link elsewhere led here, and so the browser kept the cookie to itself
            return self._layout.page(request, None, Page("hop.html", "One moment"))
        asked = here(request)
        where = SIGN_IN if asked == ROOT else f"{SIGN_IN}?{urlencode({'next': asked})}"
        if "hx-request" in request.headers:  # a part of a page: all of it has to go
            return Answer(401, headers=(("hx-redirect", where),))
        return Answer(303, headers=(("location", where),))

    def _turned_away(self, request: Request, refusal: Refusal) -> Answer:
        if refusal.kind is not RefusalKind.UNAUTHENTICATED:
            return self._layout.refused(request, None, refusal)
        answer = self._stranger(request)
        return answers.with_headers(answer, self._entrance.sessions.ended())

    def _shown(self, visit: Visit, result: Page | Answer | Refusal | Streamed) -> Answer | Streamed:
        if isinstance(result, Page):
            return self._layout.page(visit.request, visit, result)
        if isinstance(result, Refusal):
            return self._layout.refused(visit.request, visit, result)
        return result

    def _failed(self, request: Request, visit: Visit | None, error: Exception) -> Answer:
        fault = _fault(error, request)
        if isinstance(fault, Refusal):
            return self._layout.refused(request, visit, fault)
        return self._layout.page(request, visit, fault)


async def own_form(request: Request, session: Session) -> Form | Refusal:
    """The form, when a page of this session sent it."""
    if not is_from_here(request):
        return FOREIGN
    form = await form_of(request)
    if isinstance(form, Refusal):
        return form
    return form if session.is_token(form.one("token")) else FOREIGN


def _fault(error: Exception, request: Request) -> Refusal | Page:
    if isinstance(error, StoreUnavailableError):
        _logger.warning("The store is not available: %s", error)
        said = "The store cannot be read or written just now. Nothing was changed: try again."
        return Refusal(RefusalKind.UNAVAILABLE, said, retry_after=1)
    if isinstance(error, SealError):
        _logger.error("A stored secret does not open: %s", error)
        said = f"What this needs was stored encrypted and does not open. {error}"
        return Refusal(RefusalKind.CONFLICT, said)
    _logger.error("%s %s failed", request.method, instance_of(request.scope), exc_info=error)
    kind = problems.TABLE[problems.INTERNAL]
    detail = "A fault in the service kept this from being done; it is in the service's log."
    return Page("error.html", kind.title, {"detail": detail, "faults": ()}, status=kind.status)


FOREIGN: Final = Refusal(
    RefusalKind.FORBIDDEN,
    "This form was not sent by a page of this session, so nothing was done. Open the page again "
    "and send it from there.",
)
_SIGNED_OUT: Final = Refusal(
    RefusalKind.UNAUTHENTICATED, "The session is over, and nothing was done. Sign in again."
)
_NOTHING_HERE: Final = Refusal(
    RefusalKind.NOT_FOUND, "There is no such page, or not to be asked for in this way."
)
