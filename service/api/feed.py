"""The tenant's feed: every event, in an order in which nothing appears behind a cursor.

For clients that cannot be called: they ask from where they are, and may wait for what comes.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from msgspec import Raw

from service.api.event_names import event_name
from service.api.routing import Action
from service.api.services import Services
from service.domain.api_keys import Scope
from service.domain.errors import Fault, Refusal, RefusalKind, invalid
from service.ports import EventView, FeedSlice
from service.usecases.following import Followed
from service.web import answers, holding, queries
from service.web.answers import Answer
from service.web.authentication import TICKET
from service.web.calls import Call, Streamed
from service.web.problems import Problems
from service.web.streams import EventStream, View, message
from service.web.wanted import Wanted

_PATH: Final = "/v1/events"
_KIND: Final = "feed"
#: Events looked at for one answer; with filters it may hold few of them, or none.
_SCAN: Final = 5_000
_CHUNK: Final = 500
_LAST_EVENT_ID: Final = "last-event-id"

_Place = tuple[int, ...]

_cursor: Final = queries.cursor(_KIND, 1)
FILTERS: Final = {
    "types": queries.patterns,
    "operationType": queries.patterns,
    "after": _cursor,
    TICKET: queries.text,
}
PULL: Final = {
    **FILTERS,
    "cursor": _cursor,
    "limit": queries.limit,
    "wait": holding.wait,
}


@dataclass(slots=True)
class _Pull:
    """An answer on its way: which events, how many at most, how far the feed was looked at."""

    wanted: Wanted
    limit: int
    place: int
    #: Where the feed ended when it was looked at last.
    end: int = 0
    events: list[EventView] = field(default_factory=list)

    def take(self, events: Iterable[EventView]) -> None:
        """Look at these, until there are enough."""
        for each in events:
            if len(self.events) >= self.limit:
                return
            self.place = each.feed_position
            if self.wanted(each):
                self.events.append(each)


class Feed:
    """Handlers of the feed."""

    def __init__(self, services: Services, told: Problems) -> None:
        self._services = services
        self._problems = told

    def actions(self) -> list[Action]:
        """Pull, or be told."""
        read = Scope.OPERATIONS_READ
        return [
            Action("GET", _PATH, read, self.pull, by_ticket=True),
            Action("GET", f"{_PATH}/stream", read, self.stream, by_ticket=True),
        ]

    async def pull(self, call: Call) -> Answer | Refusal:
        """Events behind a cursor, oldest first; waits for the first one where that is asked."""
        values = queries.read(call.request, PULL)
        if isinstance(values, Refusal):
            return values
        cursor = values.get("cursor", values.get("after"))
        limit = values.get("limit", queries.DEFAULT_LIMIT)
        pull = _Pull(_wanted(values), limit, 0 if cursor is None else cursor[0])
        patience = holding.patience(call.request, values.get("wait"))
        refusal = await self._scan(call.tenant, pull, cursor)
        if refusal is None and not pull.events and patience.seconds:
            refusal = await self._await(call, pull, patience.seconds)
        if refusal is not None:
            return refusal
        return answers.with_headers(self._answer(call, pull), *patience.headers)

    async def stream(self, call: Call) -> Answer | Refusal | Streamed:
        """Events from a cursor on, as they come."""
        values = queries.read(call.request, FILTERS)
        if isinstance(values, Refusal):
            return values
        cursor = _resumed(call) or values.get("after")
        if isinstance(cursor, Refusal):
            return cursor
        feed = await self._services.reads.feed(call.tenant, 0, 0)
        refusal = _misplaced(feed, cursor)
        if refusal is not None:
            return refusal
        after = 0 if cursor is None else cursor[0]
        key_id = call.principal.key_id
        following = self._services.watch.feed(call.tenant, after, key_id, end=feed.end)
        refuse = partial(self._problems.answer, instance=call.path)
        return EventStream(following, _view(_wanted(values)), refuse, self._services.dice.random)

    async def _scan(self, tenant_id: str, pull: _Pull, cursor: _Place | None) -> Refusal | None:
        """Look at what is there, up to as many events as one answer may cost."""
        for _ in range(_SCAN // _CHUNK):
            feed = await self._services.reads.feed(tenant_id, pull.place, _CHUNK)
            refusal = _misplaced(feed, cursor)
            if refusal is not None:
                return refusal
            pull.take(feed.events)
            pull.end = feed.end
            if len(pull.events) >= pull.limit:
                break
            if len(feed.events) < _CHUNK:
                pull.place = feed.end
                break
            cursor = (pull.place,)
        return None

    async def _await(self, call: Call, pull: _Pull, seconds: float) -> Refusal | None:
        """Wait for the first event that is wanted."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        key_id = call.principal.key_id
        following = self._services.watch.feed(call.tenant, pull.place, key_id, end=pull.end)
        async with following as follower:
            if isinstance(follower, Refusal):
                return follower
            async with holding.noticing(call.request.receive, follower.stop):
                while not pull.events and not follower.is_over and loop.time() < until:
                    found = await follower.next(max(until - loop.time(), 0))
                    pull.take(each.event for each in found)
        return None

    def _answer(self, call: Call, pull: _Pull) -> Answer:
        cursor = queries.cursor_text(_KIND, (pull.place,))
        mine = {"after", "cursor", TICKET}
        others = [(k, v) for k, v in call.request.query_params.multi_items() if k not in mine]
        query = urlencode([*others, ("after", cursor)], safe=queries.UNQUOTED)
        link = f'<{self._services.settings.public_url}{call.path}?{query}>; rel="next"'
        data = [Raw(each.body) for each in pull.events]
        body = {"data": data, "pagination": {"nextCursor": cursor}}
        return answers.of(body, headers=(("link", link),))


def _wanted(values: dict[str, Any]) -> Wanted:
    return Wanted(values.get("types", ()), values.get("operationType", ()))


def _misplaced(feed: FeedSlice, cursor: _Place | None) -> Refusal | None:
    """Why nobody can go on from there; ``None`` when all that came since is there."""
    if cursor is None:
        return None
    if cursor[0] < feed.floor:
        return Refusal(
            RefusalKind.GONE,
            "Events behind this cursor were deleted when their retention was over. Begin again "
            "without a cursor; what became of each operation is in GET /v1/operations.",
        )
    if cursor[0] > feed.end:
        return invalid(Fault("/after", "The cursor is ahead of the feed: it is of another one."))
    return None


def _resumed(call: Call) -> _Place | Refusal | None:
    """The cursor of the last message that a client which connects again has seen."""
    text = call.request.headers.get(_LAST_EVENT_ID)
    if not text:
        return None
    try:
        place: _Place = _cursor(text)
    except ValueError as error:
        return invalid(Fault("/Last-Event-ID", f"The header {error}."))
    return place


def _view(wanted: Wanted) -> View[Followed]:
    def shown(followed: Followed) -> bytes:
        if not wanted(followed.event):
            return b""
        text = followed.rendered.get(_KIND)
        if text is None:
            event = followed.event
            place = queries.cursor_text(_KIND, (followed.place,))
            text = followed.rendered[_KIND] = message(place, event_name(event.type), event.body)
        return text

    def heartbeat(place: int) -> bytes:
        # an id without data is remembered by the client, and shown to nobody
        return b":\nid: %b\n\n" % queries.cursor_text(_KIND, (place,)).encode()

    return View(shown, heartbeat, lambda _: False)
