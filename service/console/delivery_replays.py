"""Bulk replay of what the list of deliveries shows, where a bulk replay can select just that.

What cannot be selected is said. Something else is never sent in its place.
"""

from dataclasses import replace
from typing import Final

from service.console.replaying import RATES, begin
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain import times
from service.domain.api_keys import Scope
from service.domain.delivery import DeliveryStatus
from service.domain.errors import Fault, Refusal, invalid, not_found
from service.domain.matching import is_literal
from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import DeliveryFilter, ReplayPlan
from service.web.answers import Answer
from service.web.listings import DELIVERIES

_PATH: Final = "/deliveries"
_REPLAY: Final = f"{_PATH}/replay"
_STATUS: Final = Fault("/status", "Only what is dead is sent again in bulk: filter by that status.")
_OPERATION: Final = Fault("/operationId", "A bulk replay is not narrowed to one operation.")
_EVENT: Final = Fault("/eventId", "A bulk replay is not narrowed to one event. Open its delivery.")
_TYPE: Final = Fault(
    "/eventType", "In a bulk replay * would stand for any characters; here it stands for itself."
)
_TIMES: Final = Fault(
    "/since",
    "The times are those of events. Without a subscription a bulk replay knows only when "
    "deliveries died: name one, or leave the times out.",
)


class DeliveryReplays:
    """Handlers of the bulk replay of a list of deliveries."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._replays = services.replays
        self._clock = services.clock

    def actions(self) -> list[Action]:
        """First what would be sent again, then that it is."""
        needed = Scope.DELIVERIES_REPLAY
        return [
            Action("GET", _REPLAY, needed, self.preview),
            Action("POST", _REPLAY, needed, self.start),
        ]

    async def preview(self, visit: Visit) -> Page | Refusal:
        """What a replay of what the filter shows would send again, before it does."""
        found = await self._selected(visit)
        if isinstance(found, Refusal):
            return found
        plan, subscription = found
        status = None if subscription is None else subscription.status
        shown = {
            "count": await self._replays.count(visit.principal, plan),
            "given": visit.given,
            "subscription": subscription,
            "is_disabled": status is SubscriptionStatus.DISABLED,
            "query": visit.request.url.query,
            "until": times.render(plan.until),
            "rates": RATES,
        }
        return Page("delivery_replay.html", "Replay deliveries", shown)

    async def start(self, visit: Visit) -> Answer | Refusal:
        """Begin the replay that was looked at; its operation shows how far it is."""
        found = await self._selected(visit)
        if isinstance(found, Refusal):
            return found
        return await begin(visit, self._replays, found[0], _PATH)

    async def _selected(self, visit: Visit) -> tuple[ReplayPlan, Subscription | None] | Refusal:
        """The plan that selects what the filter shows, and the subscription it is about."""
        asked = DELIVERIES.filter(visit.request)
        if isinstance(asked, Refusal):
            return asked
        which = visit.bounds.narrowed(asked)
        faults = unfit(which)
        if faults:
            return invalid(*faults)
        now = times.parse(visit.form.one("until")) or self._clock.now() + 1
        if which.subscription_id is None:
            return plan_of(which, None, now), None
        found = await self._reads.subscription(visit.tenant, which.subscription_id)
        if found is None:
            return not_found("subscription", which.subscription_id)
        return plan_of(which, found.no, now), found


def unfit(which: DeliveryFilter) -> list[Fault]:
    """Why no bulk replay selects what this filter shows; nothing, where one does."""
    is_timed = which.since is not None or which.until is not None
    found = (
        (which.status is not DeliveryStatus.DEAD, _STATUS),
        (which.operation_id is not None, _OPERATION),
        (which.event_id is not None, _EVENT),
        (not is_literal(which.event_type or ""), _TYPE),
        (is_timed and which.subscription_id is None, _TIMES),
    )
    return [fault for is_so, fault in found if is_so]


def but_dead(which: DeliveryFilter) -> bool:
    """Whether a bulk replay would select what is dead of this."""
    return not unfit(replace(which, status=DeliveryStatus.DEAD))


def plan_of(which: DeliveryFilter, subscription_no: int | None, now: int) -> ReplayPlan:
    """The replay of what a filter shows that one is fit for; what dies later is not in it.

    Of one subscription it goes by the times of events as the list does, of all by those of deaths.
    """
    types = () if which.event_type is None else (which.event_type,)
    if which.since is None and which.until is None:
        return ReplayPlan("dead_letters", "dead", 0, now, subscription_no, types)
    since, until = which.since or 0, now if which.until is None else which.until
    return ReplayPlan("subscription", "dead", since, until, subscription_no, types)
