"""Bulk replays: of dead letters by filter, and of what one subscription should have got.

Each is an operation of its own, which shows how far it is and can be cancelled.
"""

import re
from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from service.api import operation_shape
from service.api.fields import EventPattern, EventPatterns, Id, MomentText, NoteText, Rate
from service.api.links import Links
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.domain import times
from service.domain.api_keys import Scope
from service.domain.errors import Fault, Refusal, invalid, not_found
from service.domain.retry import DeadReason
from service.ports import Once, Replayed, ReplayPlan, ReplayRun
from service.web import answers
from service.web.answers import Answer
from service.web.calls import Call
from service.web.idempotency import Idempotency

_REASONS: Final = frozenset(DeadReason)
_ONE_WORD: Final = re.compile(r"[A-Za-z_-]+")
_WHICH: Final = ("dead", "missing", "all")
#: A reason of dead letters, or a note of more than one word.
_REASON_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"enum": sorted(_REASONS)},
        {
            "type": "string",
            "maxLength": 1024,
            "pattern": r"^[^\x00-\x1f\x7f]*[^A-Za-z_\x00-\x1f\x7f-][^\x00-\x1f\x7f]*$",
        },
        {"type": "null"},
    ]
}


def _unresolved(value: object) -> bool | None:
    if value is not None and value is not False:
        raise ValueError("must be false, or left out: what was delivered is not replayed in bulk")
    return None


def _which(value: object) -> str:
    if value not in _WHICH:
        raise ValueError("must be 'dead', 'missing' or 'all'")
    return str(value)


class DeadLettersReplayBody(Body):
    """Which dead letters: the filters of their list, and how to go about it."""

    subscription_id: Id | None = None
    event_type: EventPattern | None = None
    #: One of the reasons why a delivery is dead selects those; any other text is for the audit log.
    reason: Annotated[NoteText | None, WithJsonSchema(_REASON_SCHEMA)] = None
    since: MomentText | None = None
    until: MomentText | None = None
    resolved: Annotated[
        bool | None, PlainValidator(_unresolved), WithJsonSchema({"enum": [False, None]})
    ] = None
    rate_per_second: Rate | None = None
    dry_run: bool = False


class SubscriptionReplayBody(Body):
    """Which events to send to a subscription once more, or after all."""

    since: MomentText
    until: MomentText | None = None
    only: Annotated[str, PlainValidator(_which), WithJsonSchema({"enum": [*_WHICH]})]
    event_types: EventPatterns | None = None
    rate_per_second: Rate | None = None
    dry_run: bool = False


class BulkReplays:
    """Handlers of bulk replays."""

    def __init__(self, services: Services, idempotency: Idempotency, links: Links) -> None:
        self._services = services
        self._idempotency = idempotency
        self._links = links

    def actions(self) -> list[Action]:
        """What can be replayed in bulk."""
        needed = Scope.DELIVERIES_REPLAY
        return [
            Action("POST", "/v1/dead-letters/replay", needed, self.of_dead_letters),
            Action("POST", "/v1/subscriptions/{id}/replay", needed, self.of_subscription),
        ]

    async def of_dead_letters(self, call: Call) -> Answer | Refusal:
        """Replay the dead letters that a filter selects."""
        given = await body_of(call, DeadLettersReplayBody)
        if isinstance(given, Refusal):
            return given
        body, content = given
        no: int | Refusal | None = None
        if body.subscription_id is not None:
            no = await self._number(call, body.subscription_id, "/subscriptionId")
        if isinstance(no, Refusal):
            return no
        is_filter = body.reason in _REASONS
        if body.reason is not None and not is_filter and _ONE_WORD.fullmatch(body.reason):
            # a filter misspelt must not become a filter left out
            known = ", ".join(sorted(_REASONS))
            said = f"is none of {known}; a note for the audit log has more than one word"
            return invalid(Fault("/reason", said))
        plan = ReplayPlan(
            kind="dead_letters",
            only="dead",
            since=_time(body.since, 0),
            until=_time(body.until, self._services.clock.now() + 1),
            subscription_no=no,
            event_types=() if body.event_type is None else (body.event_type,),
            reason=body.reason if is_filter else None,
            rate_per_second=body.rate_per_second,
            dry_run=body.dry_run,
            note=None if is_filter else body.reason,
        )
        return await self._start(call, content, plan)

    async def of_subscription(self, call: Call) -> Answer | Refusal:
        """Replay what one subscription should have got."""
        given = await body_of(call, SubscriptionReplayBody)
        if isinstance(given, Refusal):
            return given
        body, content = given
        no = await self._number(call, call.name(), None)
        if isinstance(no, Refusal):
            return no
        plan = ReplayPlan(
            kind="subscription",
            only=body.only,  # type: ignore[arg-type]  # one of the three, as its validator says
            since=_time(body.since, 0),
            until=_time(body.until, self._services.clock.now() + 1),
            subscription_no=no,
            event_types=tuple(body.event_types or ()),
            rate_per_second=body.rate_per_second,
            dry_run=body.dry_run,
        )
        return await self._start(call, content, plan)

    async def _start(self, call: Call, content: bytes, plan: ReplayPlan) -> Answer | Refusal:
        if plan.since >= plan.until:
            return invalid(Fault("/until", "must be later than since"))

        async def act(once: Once | None) -> ReplayRun | Refusal | Replayed:
            return await self._services.replays.start(call.principal, plan, once)

        return await self._idempotency.run(call, content, act, self._started, self._started)

    async def _number(self, call: Call, name: str, pointer: str | None) -> int | Refusal:
        """The subscription's number; ``pointer`` is where a body names it."""
        found = await self._services.reads.subscription(call.tenant, name)
        if found is not None:
            return found.no
        refusal = not_found("subscription", name)
        return refusal if pointer is None else invalid(Fault(pointer, refusal.detail))

    def _started(self, run: ReplayRun) -> Answer:
        location = ("location", self._links.operation(run.operation.id))
        return answers.of(operation_shape.replay_shown(run, self._links), 202, (location,))


def _time(text: str | None, otherwise: int) -> int:
    at = None if text is None else times.parse(text)
    return otherwise if at is None else at
