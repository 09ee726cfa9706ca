"""Operations: how far each is, what happened in it, and what happens now."""

from typing import Final

import msgspec
from msgspec import Raw

from service.console.layout import Layout
from service.console.own_replays import OwnReplays
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.event import Progress, percentage
from service.domain.operation import (
    END_TYPES,
    REPLAY_TYPE,
    Operation,
    Status,
    is_end,
    refuse_expired,
)
from service.ports import Replayed
from service.usecases.following import Followed
from service.web import queries
from service.web.answers import Answer
from service.web.calls import Streamed
from service.web.listings import OPERATIONS
from service.web.streams import EventStream, View, message

_PATH: Final = "/operations"
_ONE: Final = f"{_PATH}/{{id}}"
#: Events of the log that a page shows: the newest.
_MANY: Final = 100
#: Bytes of an event that a page shows among a hundred others, and reads anew with each that comes.
_MOST: Final = 16 * 1024
_THROUGH: Final = (Status.COMPLETED, Status.COMPLETED_WITH_ERRORS)
_progress: Final = msgspec.json.Decoder(float | Progress)


class Operations:
    """Handlers of operations."""

    def __init__(self, services: Services, layout: Layout) -> None:
        self._services = services
        self._reads = services.reads
        self._layout = layout
        self._own = OwnReplays(services)

    def actions(self) -> list[Action]:
        """What is possible with operations."""
        read, write = Scope.OPERATIONS_READ, Scope.OPERATIONS_WRITE
        return [
            Action("GET", _PATH, read, self.index, whole=True),
            Action("GET", _ONE, read, self.show, whole=True),
            Action("GET", f"{_ONE}/stream", read, self.stream, whole=True),
            Action("POST", f"{_ONE}/cancel", write, self.cancel, whole=True),
            Action("POST", f"{_ONE}/retry", write, self.retry, whole=True),
            Action("POST", f"{_ONE}/stop", Scope.DELIVERIES_REPLAY, self.stop, whole=True),
        ]

    async def index(self, visit: Visit) -> Page | Refusal:
        """The history of operations, newest first."""
        asked = OPERATIONS.read(visit.request)
        if isinstance(asked, Refusal):
            return asked
        page = await self._reads.operations(visit.tenant, asked.which, asked.span)
        shown = {
            "items": [(each, _percentage(each)) for each in page.items],
            "given": visit.given,
            "statuses": list(Status),
            "further": page.next and OPERATIONS.address_of(visit.request, page.next),
        }
        return Page("operations.html", "Operations", shown)

    async def show(self, visit: Visit) -> Page | Refusal:
        """One operation, and the newest part of its log."""
        operation = await self._readable(visit)
        if isinstance(operation, Refusal):
            return operation
        first = max(operation.sequence - _MANY, 0)
        log = await self._reads.log(operation.key, first, _MANY)
        shown = {
            "operation": operation,
            "percentage": _percentage(operation),
            "told": _told(operation),
            "log": list(reversed(log)),
            "most": _MOST,
            "is_open": not is_end(operation.status),
            "is_own": await self._own.ends(visit, operation),
            "is_through": operation.status in _THROUGH,
            "is_failed": operation.status is Status.FAILED,
            "replay_type": REPLAY_TYPE,
        }
        return Page("operation.html", "Operation", shown)

    async def stream(self, visit: Visit) -> Answer | Refusal | Streamed:
        """Notes that the operation moved, as it moves; the page then reads it again."""
        values = queries.read(visit.request, {"after": queries.number})
        if isinstance(values, Refusal):
            return values
        operation = await self._readable(visit)
        if isinstance(operation, Refusal):
            return operation
        after = min(values.get("after", 0), operation.sequence)
        if is_end(operation.status) and after == operation.sequence:
            return Answer(204)  # which tells an EventSource not to come again
        key_id = visit.principal.key_id
        following = self._services.looks.beside(
            visit.session.token, self._services.watch.operation(operation, after, key_id)
        )

        def refused(refusal: Refusal) -> Answer:
            return self._layout.refused(visit.request, visit, refusal)

        return EventStream(following, _VIEW, refused, self._services.dice.random)

    async def cancel(self, visit: Visit) -> Answer | Refusal:
        """Cancel it."""
        reason = visit.form.one("reason")[:1024] or None
        result = await self._services.operations.cancel(visit.principal, visit.name(), reason)
        if isinstance(result, Refusal):
            return result
        return visit.to(f"{_PATH}/{visit.name()}?done=cancelled")

    async def stop(self, visit: Visit) -> Answer | Refusal:
        """Cancel a bulk replay: who began it may end it, and nothing else."""
        ended = await self._own.cancel(visit, visit.name())
        if isinstance(ended, Refusal):
            return ended
        return visit.to(f"{_PATH}/{visit.name()}?done=cancelled")

    async def retry(self, visit: Visit) -> Answer | Refusal:
        """Try a failed one once more; the new one is shown."""
        result = await self._services.operations.retry(visit.principal, visit.name(), None)
        if isinstance(result, Replayed):
            raise TypeError("A retry without an Idempotency-Key was replayed.")
        if isinstance(result, Refusal):
            return result
        return visit.to(f"{_PATH}/{result.operation.id}?done=started")

    async def _readable(self, visit: Visit) -> Operation | Refusal:
        operation = await self._reads.operation(visit.tenant, visit.name())
        if operation is None:
            return not_found("operation", visit.name())
        return refuse_expired(operation, self._services.clock.now()) or operation


def _percentage(operation: Operation) -> float | None:
    """How far it is, 0 to 100; ``None``: not told. What completed is through, whatever it told."""
    told = percentage(Raw(operation.progress or b""))
    return told if told is None or operation.status not in _THROUGH else 100.0


def _told(operation: Operation) -> Progress | None:
    """What its progress says besides how far it is."""
    if operation.progress is None:
        return None
    told = _progress.decode(operation.progress)
    return told if isinstance(told, Progress) else None


def _message(followed: Followed) -> bytes:
    name = "ended" if followed.event.type in END_TYPES else "moved"
    return message(str(followed.place), name, b"1")


_VIEW: Final = View(_message, lambda _: b":\n\n", lambda followed: followed.event.type in END_TYPES)
