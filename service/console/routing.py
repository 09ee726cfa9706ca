"""Addresses: one :class:`Resource` answers all methods of a path with a page, whatever happens."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive
from starlette.types import Scope as HttpScope

from service.console import moments
from service.console.entrances import NOTHING_HERE, Entrance
from service.console.sessions import Session, is_from_here
from service.console.typed import read_form, typed_in
from service.console.visits import LONG, NO_FORM, Action, Form, Page, Visit
from service.domain.errors import Refusal, RefusalKind
from service.ports import SealError, StoreUnavailableError, UnknownCommitError
from service.web import answers, problems, resources
from service.web.answers import Answer
from service.web.calls import Streamed
from service.web.problems import instance_of
from service.web.telling import WHO

_logger = logging.getLogger(__name__)

_HEAD: Final = "HEAD"
_GET: Final = "GET"
_POST: Final = "POST"


def routes(actions: Iterable[Action], entrance: Entrance) -> list[Route]:
    """One route a path, tried in the order in which they first appear; and one for all others."""
    root, found = entrance.layout.site.root, resources.by_path(actions)
    return [
        *(Route(root + path, Resource(by, entrance)) for path, by in found.items()),
        Route(f"{root}/{{path:path}}", Resource({}, entrance)),
    ]


class Resource(resources.Resource[Action]):
    """An ASGI application that answers the methods of one path to who was let in."""

    def __init__(self, actions: Mapping[str, Action], entrance: Entrance) -> None:
        super().__init__(actions, entrance.doorkeeper)
        self._entrance = entrance
        self._layout = entrance.layout

    async def answer(self, scope: HttpScope, receive: Receive) -> Answer | Streamed:
        """The page, or what came of asking for it."""
        scope["query_string"] = moments.whole(scope["query_string"])
        request = Request(scope, receive)
        session = self._entrance.sessions.of(request)
        visit = None
        try:
            if session is None:
                return await self._stranger(request)
            guest = await self._entrance.admit(request, session)
            if isinstance(guest, Refusal):
                return await self._turned_away(request, guest)
            scope[WHO] = guest.principal
            visit = Visit(request, guest, session, self._layout.site)
            return await self._shown(visit, await self._act(visit))
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001  a page is answered to whatever happens
            return await self._failed(request, visit, error)

    async def _act(self, visit: Visit) -> Page | Answer | Refusal | Streamed:
        action = self._actions.get(visit.request.method)
        if action is None:
            return NOTHING_HERE
        refusal = None if action.scope is None else self._entrance.authorize(visit, action.scope)
        if refusal is not None:
            return refusal
        if "\0" in visit.request.scope["path"]:
            return NOTHING_HERE  # some databases cannot even be asked for NUL
        refusal = await self._entrance.refuse(visit, action)
        if refusal is not None:
            return refusal
        form: Form | Refusal = NO_FORM
        if visit.request.method == _POST:
            form = await own_form(visit.request, visit.session)
        if isinstance(form, Refusal):
            return form
        return await action.handler(replace(visit, form=form))

    async def _stranger(self, request: Request) -> Answer:
        if request.method not in (_GET, _HEAD):
            return await self._refused(request, None, self._entrance.out)
        return self._entrance.stranger(request)

    async def _turned_away(self, request: Request, refusal: Refusal) -> Answer:
        if refusal.kind is not RefusalKind.UNAUTHENTICATED:
            return await self._refused(request, None, refusal)
        answer = await self._stranger(request)
        return answers.with_headers(answer, self._entrance.sessions.ended())

    async def _refused(self, request: Request, visit: Visit | None, refusal: Refusal) -> Answer:
        typed = await typed_in(request, is_known=visit is not None)
        return self._layout.refused(request, visit, refusal, typed)

    async def _shown(
        self, visit: Visit, result: Page | Answer | Refusal | Streamed
    ) -> Answer | Streamed:
        if isinstance(result, Page):
            return self._layout.page(visit.request, visit, result)
        if isinstance(result, Refusal):
            return await self._refused(visit.request, visit, result)
        return result

    async def _failed(self, request: Request, visit: Visit | None, error: Exception) -> Answer:
        fault = _fault(error, request)
        if isinstance(fault, Refusal):
            return await self._refused(request, visit, fault)
        typed = await typed_in(request, is_known=visit is not None)
        page = replace(fault, values={**fault.values, "typed": typed})
        return self._layout.page(request, visit, page)


async def own_form(request: Request, session: Session) -> Form | Refusal:
    """The form, when a page of this session sent it."""
    if not is_from_here(request):
        return FOREIGN
    form = await read_form(request, LONG)
    if isinstance(form, Refusal):
        return form
    return form if session.is_token(form.one("token")) else FOREIGN


def _fault(error: Exception, request: Request) -> Refusal | Page:
    if isinstance(error, StoreUnavailableError):
        _logger.warning("The store is not available: %s", error)
        said = "The store cannot be read or written just now. Nothing was changed: try again."
        if isinstance(error, UnknownCommitError):
            said = (
                "The store went away amid this. It may have been done: look before you try again."
            )
        return Refusal(RefusalKind.UNAVAILABLE, said, retry_after=1)
    if isinstance(error, SealError):
        _logger.error("A stored secret does not open: %s", error)
        said = f"What this needs was stored encrypted and does not open. {error}"
        return Refusal(RefusalKind.CONFLICT, said)
    _logger.error("%s %s failed", request.method, instance_of(request.scope), exc_info=error)
    kind = problems.TABLE[problems.INTERNAL]
    detail = "A fault in the service kept this from being done; it is in the service's log."
    values = {"detail": detail, "faults": (), "deleted": None}
    return Page("error.html", kind.title, values, status=kind.status)


FOREIGN: Final = Refusal(
    RefusalKind.FORBIDDEN,
    "This form was not sent by a page of this session, so nothing was done. Open the page again "
    "and send it from there.",
)
