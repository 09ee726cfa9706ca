"""What the log says of requests: a line for each that was to change something, or went wrong here.

Reading is not told, nor is what producers post: that is what the service is for, thousands of times
a second, and each event is kept.
"""

import logging
from typing import Final

from starlette.types import Scope

from service.domain.few import Few
from service.web.problems import instance_of

_logger = logging.getLogger("ringback.requests")

#: In a scope: on whose behalf (:class:`service.ports.Principal`) the request is answered.
WHO: Final = "ringback.who"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PRODUCING: Final = frozenset(
    {"/v1/events", "/v1/operations", "/v1/operations/{id}/events", "/v1/stream-tickets"}
)
_FAULTS: Final = 500
#: Lines a second, and of them about what nobody known asked for.
_MOST: Final = 50
_OF_STRANGERS: Final = 5
#: Characters of a path.
_LONGEST: Final = 200


class Told:
    """Tells of requests."""

    def __init__(self) -> None:
        self._few = Few(_MOST)
        self._of_strangers = Few(_OF_STRANGERS)

    def tell(self, scope: Scope, status: int, ms: float, now: float) -> None:
        """Write the line about an answer that has begun, if there is to be one."""
        route = getattr(scope.get("route"), "path", None)
        is_usual = scope["method"] in _READING or route in _PRODUCING
        if (is_usual and status < _FAULTS) or not _logger.isEnabledFor(logging.INFO):
            return
        who = scope.get(WHO)
        is_known = who is not None or status >= _FAULTS
        untold = (self._few if is_known else self._of_strangers).through(now)
        if untold is None:
            return
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
