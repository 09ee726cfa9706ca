"""What the log says of requests: a line for each that was to change something, or went wrong here.

Reading is not told, nor is what producers post: that is what the service is for, thousands of times
a second, and each event is kept.
"""

import logging
from typing import Final

from starlette.types import Scope

from service.domain.few import MOST, OF_STRANGERS, Few
from service.web.problems import instance_of

_logger = logging.getLogger("ringback.requests")

#: In a scope: on whose behalf (:class:`service.ports.Principal`) the request was made.
WHO: Final = "ringback.who"
#: In a scope: that somebody has shown a key or a link to a page that lets people in.
ENTERING: Final = "ringback.entering"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PRODUCING: Final = frozenset(
    {"/v1/events", "/v1/operations", "/v1/operations/{id}/events", "/v1/stream-tickets"}
)
_FAULTS: Final = 500
#: Keys of which it is known how often they asked in this second.
_KEYS: Final = 1_000
#: Characters of a path.
_LONGEST: Final = 200


class Told:
    """Tells of requests; what others ask for keeps back no line about what is done by a known key.

    Nor about who tries to come in, nor about faults: while the store is away nobody is known.
    """

    def __init__(self) -> None:
        self._known: dict[str, Few] = {}
        self._entering = Few(OF_STRANGERS)
        self._faults = Few(OF_STRANGERS)
        self._strangers = Few(OF_STRANGERS)

    def tell(self, scope: Scope, status: int, ms: float, now: float) -> None:
        """Write the line about an answer that has begun, if there is to be one."""
        route = getattr(scope.get("route"), "path", None)
        is_usual = scope["method"] in _READING or route in _PRODUCING
        if (is_usual and status < _FAULTS) or not _logger.isEnabledFor(logging.INFO):
            return
        untold = self._few_of(scope, status).through(now)
        if untold is None:
            return
        who = scope.get(WHO)
        facts = {
            "method": scope["method"],
            "route": route,
            "path": instance_of(scope)[:_LONGEST],
            "status": status,
            "ms": round(ms, 1),
            "key": who and who.key_id,
            "tenant": who and who.tenant_id,
            "untold": untold,
        }
        level = logging.INFO if status < _FAULTS else logging.WARNING
        _logger.log(level, "request", extra={k: v for k, v in facts.items() if v})

    def _few_of(self, scope: Scope, status: int) -> Few:
        who = scope.get(WHO)
        if who is not None:
            if len(self._known) >= _KEYS:
                self._known.clear()
            return self._known.setdefault(who.key_id, Few(MOST))
        if ENTERING in scope:
            return self._entering
        return self._faults if status >= _FAULTS else self._strangers
