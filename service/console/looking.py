"""Pages that are looked at again and again for who listens, and what is told of that.

1. What one session sees of one page is looked at once, however many windows show it.
2. Looks are paced by what they take, one after the other: those who listen cost the service a
   small share of one processor and one connection to the store, whatever they look at and however
   many they are. Then all of them hear of changes later.
3. Only what the last look found is kept. So a change that is undone between two looks is not told,
   and nobody's being slow costs memory.
4. Between the moment at which somebody is let in and that at which he listens he may sign out. So
   sessions that ended are kept in mind: whoever begins to listen on behalf of one is let go.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple, TypeVar

from service.domain.errors import Refusal, RefusalKind
from service.usecases.listening import Listener
from service.usecases.reporting import report

#: Streams of one session, and of all sessions of both sites, in one process. Browsers have six
#: connections for all of a site, one of which is left for pages; their script sees to that too,
#: where it can.
MOST_OF_A_SESSION: Final = 5
MOST: Final = 1_000
#: Seconds between two looks at the same, at least and at most, and the share of the time between
#: that a look may take.
_LEAST: Final = 2.0
_LONGEST: Final = 30.0
_SHARE: Final = 0.05
#: Sessions that ended and are kept in mind: more than end while one stream is being opened. A
#: hundred bytes each.
_ENDED: Final = 10_000
#: Seconds after which one who was turned away may ask again.
_RETRY: Final = 30

#: What a look found in place of what a page shows: that it will never again show anything else, or
#: is not to be looked at by this session; that this cannot be said just now.
OVER: Final = "over"
UNKNOWN: Final = ""

Look = Callable[[], Awaitable[str]]
F = TypeVar("F", bound=Listener)


class Place(NamedTuple):
    """Who looks at what."""

    #: What stays the same as long as somebody is signed in, and nobody else has.
    session: str
    #: The tenant for which the session acts; ``None``: its own.
    tenant: str | None
    page: str


class Change(NamedTuple):
    """That a page shows other things than before, or that it is over."""

    place: int
    is_last: bool


class Sight:
    """One page as one session sees it."""

    def __init__(self, look: Look, shown: str, turn: asyncio.Lock) -> None:
        self._look = look
        self._turn = turn
        self.shown = shown
        self.lookers: set[Looker] = set()
        self._looking = asyncio.create_task(self._look_on(), name="live")

    def show(self, found: str) -> None:
        """What a look found just now; all who listen are told if it is something else."""
        if found not in (UNKNOWN, self.shown) and self.shown != OVER:
            self.shown = found
            for each in tuple(self.lookers):
                each.wake()

    def close(self) -> None:
        """Look no more: nobody listens."""
        self._looking.cancel()

    async def _look_on(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _LEAST
        while self.shown != OVER:
            await asyncio.sleep(pause)
            began = loop.time()
            try:
                async with self._turn:
                    self.show(await self._look())
            except Exception as error:  # noqa: BLE001  the next look may go well
                report("A page that somebody listens to could not be looked at", error)
            pause = min(max((loop.time() - began) / _SHARE, _LEAST), _LONGEST)


class Looker(Listener):
    """Somebody who listens; ``place`` is how often he was told of something."""

    def __init__(self, sight: Sight, seen: str, closing: asyncio.Event) -> None:
        super().__init__(closing)
        self._sight = sight
        self._seen = seen
        self.place = 0

    async def next(self, seconds: float) -> Sequence[Change]:
        """That the page changed, as soon as it did; nothing when ``seconds`` passed or it is over.

        Who is told reads it after that, so he has then seen what it shows now.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self.is_over:
            if self._sight.shown != self._seen:
                self._seen = self._sight.shown
                self.place += 1
                return [Change(self.place, self._seen == OVER)]
            left = until - loop.time()
            if left <= 0:
                break
            await self.pause(left)
        return ()


class Looks:
    """All who listen to pages in this process; ``closing`` is set as soon as the service stops."""

    def __init__(self, closing: asyncio.Event) -> None:
        self._closing = closing
        self._sights: dict[Place, Sight] = {}
        self._listening: Counter[str] = Counter()
        #: Those of a session who follow something else than a page.
        self._others: dict[str, set[Listener]] = {}
        #: Sessions out of which somebody signed, the last ones last.
        self._ended: dict[str, None] = {}
        self._turn = asyncio.Lock()

    @property
    def lookers(self) -> int:
        """How many listen to a page now."""
        return self._listening.total()

    def end(self, session: str) -> None:
        """Let all go who listen, or are about to, on behalf of a session: it was signed out of."""
        self._ended[session] = None
        if len(self._ended) > _ENDED:
            del self._ended[next(iter(self._ended))]
        for place, sight in self._sights.items():
            if place.session == session:
                sight.show(OVER)
        for each in self._others.get(session, ()):
            each.stop()

    @asynccontextmanager
    async def beside(
        self, session: str, following: AbstractAsyncContextManager[F | Refusal]
    ) -> AsyncIterator[F | Refusal]:
        """Follow something else on behalf of a session, as long as nobody signs out of it."""
        async with following as follower:
            if isinstance(follower, Refusal):
                yield follower
                return
            others = self._others.setdefault(session, set())
            others.add(follower)
            if session in self._ended:
                follower.stop()
            try:
                yield follower
            finally:
                others.discard(follower)
                if not others and self._others.get(session) is others:
                    del self._others[session]

    @asynccontextmanager
    async def listening(
        self, place: Place, look: Look, shown: str, seen: str
    ) -> AsyncIterator[Looker | Refusal]:
        """Listen to a page, which shows ``shown`` now, on behalf of who has ``seen`` that."""
        session = place.session
        if self._listening[session] >= MOST_OF_A_SESSION or self.lookers >= MOST:
            yield _TOO_MANY
            return
        sight = self._sights.get(place)
        if sight is None or sight.shown == OVER:
            sight = self._sights[place] = Sight(look, shown, self._turn)
        sight.show(OVER if session in self._ended else shown)
        looker = Looker(sight, seen, self._closing)
        sight.lookers.add(looker)
        self._listening[session] += 1
        closing = asyncio.create_task(self._closing.wait())
        closing.add_done_callback(lambda _: looker.wake())
        try:
            yield looker
        finally:
            closing.cancel()
            self._leave(place, sight, looker)

    def _leave(self, place: Place, sight: Sight, looker: Looker) -> None:
        self._listening[place.session] -= 1
        if not self._listening[place.session]:
            del self._listening[place.session]
        sight.lookers.discard(looker)
        if not sight.lookers:
            sight.close()
            if self._sights.get(place) is sight:
                del self._sights[place]


_TOO_MANY: Final = Refusal(
    RefusalKind.TOO_MANY_REQUESTS,
    f"Pages are listened to already by as many as may: {MOST_OF_A_SESSION} of one session, "
    f"{MOST} of all. Close some; what is shown is asked for every so often meanwhile.",
    retry_after=_RETRY,
)
