"""How long answers take, by the route's template and the class of their status."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.domain.histogram import DURATIONS, Histogram
from service.web.telling import Told
from service.web.whole import WHOLE

#: Addresses without a route and methods without a meaning, which anybody may invent, are one each.
_NONE: Final = "none"
#: Messages that an answer begins with.
_BEGINNINGS: Final = frozenset({"http.response.start", WHOLE})
_CLASSES: Final = ("", "1xx", "2xx", "3xx", "4xx", "5xx")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RouteTimes:
    """ms until an answer began, by method, route and class of status such as ``2xx``."""

    def __init__(self) -> None:
        self.by_route: dict[tuple[str, str, str], Histogram] = {}

    def observe(self, scope: Scope, status: int, ms: float) -> None:
        """Count the answer to a request that has been routed."""
        method, route = scope["method"], getattr(scope.get("route"), "path", _NONE)
        key = (method if method in _METHODS else _NONE, route, _CLASSES[status // 100])
        known = self.by_route.get(key)
        if known is None:
            known = self.by_route[key] = Histogram(DURATIONS)
        known.observe(ms)


class Timed:
    """Times what an application answers, and tells of it; WebSockets, which last, are left out."""

    def __init__(self, app: ASGIApp, times: RouteTimes, now: Callable[[], float]) -> None:
        self._app = app
        self._times = times
        self._now = now
        self._told = Told()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        began = self._now()

        def timed(message: Message) -> Awaitable[None]:
            if message["type"] in _BEGINNINGS:
                now, status = self._now(), message["status"]
                self._times.observe(scope, status, (now - began) * 1000)
                self._told.tell(scope, status, (now - began) * 1000, now)
            return send(message)

        return self._app(scope, receive, timed)
