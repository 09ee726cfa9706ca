"""Following what happens: streams that come again after a cut, from where they were."""

import time
from collections.abc import Iterator
from typing import Any, Final

from service.cli.client import Api, Query, named
from service.cli.exits import CommandError, Exit

Json = Any

#: Of operations: nothing comes after an event with one of these.
ENDS: Final = frozenset({"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"})
#: Matches no event: types hold no colons.
_NOTHING: Final = ":"
_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
#: In a row, after which nobody is thought to come back: about a minute.
_FAILURES: Final = 8


def feed_end(api: Api) -> str:
    """The cursor behind everything that has happened so far."""
    after: str | None = None
    while True:
        page = api.get("/v1/events", {"types": _NOTHING, "after": after})
        cursor: str = page["pagination"]["nextCursor"]
        if cursor == after:
            return cursor
        after = cursor


class Patience:
    """How long somebody is awaited who was there before; who never was is not."""

    def __init__(self) -> None:
        self._failures = 0
        self._was_there = False

    def there(self) -> None:
        """An answer has come."""
        self._failures, self._was_there = 0, True

    def pause(self, error: CommandError | None = None) -> None:
        """Wait until the next try; the longer, the more have failed.

        Raises:
            CommandError: the error, where it is no use to go on.
        """
        if error is not None:
            self._failures += 1
            is_cut = self._was_there and error.code is Exit.UNAVAILABLE
            if not is_cut or self._failures > _FAILURES:
                raise error
        time.sleep(min(_PAUSE * 2**self._failures, _LONGEST_PAUSE))


def tail(api: Api, path: str, query: Query, after: str) -> Iterator[Json]:
    """The events of a stream behind a place, without end; what never opens is not awaited."""
    place, patience = after, Patience()
    while True:
        cut = None
        try:
            with api.stream(path, {**query, "after": place}) as messages:
                patience.there()
                for name, event in messages:
                    place = name or place
                    yield event
        except CommandError as error:
            cut = error
        patience.pause(cut)


def operation_events(api: Api, name: str) -> Iterator[Json]:
    """The events of an operation, from the first to the last one."""
    for event in tail(api, named("/v1/operations/{}/stream", name), {}, "0"):
        yield event
        if event["status"] in ENDS:
            return
