"""Live pages: a stream that says when one shows other things than before.

A look is what a GET of the page does, by the same route and with the same session. So who may
listen is who may look, at each look anew: expiry, revocation, scopes and bounds are the page's own.

The stream has nothing of the page in it, and who hears of a change asks for the page. That is one
rendering more at each change, of what costs a few milliseconds; in return there is one way by which
pages come to a browser, to be looked after and secured, and a stream that somebody should not have
heard would have told him a number.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import Receive, Scope

from service.console.entrances import NOTHING_HERE, Entrance
from service.console.looking import OVER, UNKNOWN, Change, Looker, Place
from service.console.routing import Resource
from service.console.services import Services
from service.console.site import LIVE
from service.domain.errors import Refusal
from service.web import queries, resources
from service.web.answers import Answer
from service.web.calls import Streamed
from service.web.streams import EventStream, View, message

#: As ``ui.live`` writes it: what a page shows, apart from what the clock does to it. Whatever else
#: stands on a page has its quotes escaped.
_SHOWN: Final = re.compile(rb' data-shown="([0-9a-f]+)"')
#: Addresses that servers take are not longer either.
_LONGEST: Final = 8 * 1024
_OK: Final = 200
_TOO_OFTEN: Final = 429
_FAULTS: Final = 500


def route(pages: Sequence[Route], entrance: Entrance, services: Services) -> Route:
    """The route by which these pages are listened to; they have to stand behind it."""
    where = entrance.layout.site.root + LIVE
    return Route(where, Live(pages, entrance, services), methods=["GET"])


class Live(resources.Resource[resources.Action]):
    """An ASGI application that answers with the stream of a page."""

    def __init__(self, pages: Sequence[Route], entrance: Entrance, services: Services) -> None:
        super().__init__({}, entrance.doorkeeper)
        self._pages = pages
        self._entrance = entrance
        self._chance = services.dice.random
        self._looks = services.looks

    async def answer(self, scope: Scope, receive: Receive) -> Answer | Streamed:
        """The stream of a page; what the page answers with where there is none to be had."""
        request = Request(scope)

        def refused(refusal: Refusal) -> Answer:
            return self._entrance.layout.refused(request, None, refusal)

        asked = queries.read(request, {"page": _any, "seen": _any})
        if isinstance(asked, Refusal):
            return refused(asked)
        page = asked.get("page", "")
        looked = self._scope_of(page, scope)
        answer = await self._look(looked, receive)
        # on whose behalf, and what is left of his limit, is the stream's too
        scope.update({name: looked[name] for name in looked.keys() - scope.keys()})
        if not isinstance(answer, Answer):
            return refused(NOTHING_HERE)
        if answer.status != _OK:
            return answer
        shown = _shown(answer)
        session = self._entrance.sessions.of(request)
        if shown == OVER or session is None:
            return Answer(204)  # which tells an EventSource not to come again
        listening = self._listening(
            Place(session.token, session.tenant, page), looked, shown, asked.get("seen", shown)
        )
        return EventStream(listening, _VIEW, refused, self._chance)

    def _listening(
        self, place: Place, looked: Scope, shown: str, seen: str
    ) -> AbstractAsyncContextManager[Looker | Refusal]:

        async def look() -> str:
            return _shown(await self._look({**looked}, _nothing))

        return self._looks.listening(place, look, shown, seen)

    async def _look(self, looked: Scope, receive: Receive) -> Answer | Streamed:
        """What the page answers with."""
        for each in self._pages:
            match, more = each.matches(looked)
            if match is Match.FULL and isinstance(each.app, Resource):
                looked.update(more)
                return await each.app.answer(looked, receive)
        return self._entrance.layout.refused(Request(looked), None, NOTHING_HERE)

    def _scope_of(self, page: str, scope: Scope) -> Scope:
        """The request for a page that stands for the one to listen to it."""
        path, _, query = page.partition("?")
        raw = path.encode("ascii", "replace")
        # as of a part of a page: who has no session is told so, and led nowhere
        headers = [*scope["headers"], (b"hx-request", b"true")]
        return {
            **scope,
            "method": "GET",
            "path": unquote(raw.decode()),
            "raw_path": raw,
            "query_string": query.encode("ascii", "replace"),
            "headers": headers,
        }


def _any(text: str) -> str:
    if len(text) > _LONGEST:
        raise ValueError(f"has {_LONGEST} characters at most")
    return text


def _shown(answer: Answer | Streamed) -> str:
    """What a page shows, in brief; that it changes no more; or that it is away."""
    status = answer.status if isinstance(answer, Answer) else 0
    if status == _TOO_OFTEN:
        return UNKNOWN
    if status >= _FAULTS:
        return f"away, {status}"
    found = _SHOWN.search(answer.body) if isinstance(answer, Answer) else None
    return OVER if found is None else found[1].decode()


async def _nothing() -> dict[str, str]:
    """What comes with a look."""
    return {"type": "http.disconnect"}


def _message(change: Change) -> bytes:
    return message(str(change.place), "ended" if change.is_last else "changed", b"1")


_VIEW: Final = View(_message, lambda _: b":\n\n", lambda change: change.is_last)
