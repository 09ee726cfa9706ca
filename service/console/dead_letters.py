"""Dead letters: grouped by what there is to mend, then each one; sent again, or discarded."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from msgspec import Raw

from service.console.attempts import seen
from service.console.grouping import grouped
from service.console.own_replays import OwnReplays
from service.console.receivers import Known, receivers
from service.console.replaying import RATES, begin
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain import ids, times
from service.domain.api_keys import Scope
from service.domain.delivery import DeadLetterState, Trigger
from service.domain.errors import Refusal, not_found
from service.domain.event import percentage
from service.domain.ids import DeliveryRef
from service.domain.retry import DeadReason
from service.ports import (
    DeadLetterCount,
    DeadLetterFilter,
    DeadLetterView,
    ReplayPlan,
)
from service.web import queries
from service.web.answers import Answer
from service.web.listings import DEAD_LETTERS

_PATH: Final = "/dead-letters"
_ONE: Final = f"{_PATH}/{{id}}"
#: What a replay may be narrowed by here; a filter that only the preview knew would mislead.
_GROUP: Final = DEAD_LETTERS.only("subscriptionId", "reason")
_ALL: Final = DEAD_LETTERS.also({"done": queries.text})


class DeadLetters:
    """Handlers of dead letters."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._replays = services.replays
        self._own = OwnReplays(services)
        self._clock = services.clock

    def actions(self) -> list[Action]:
        """What is possible with dead letters; paths with names of their own come before ids."""
        read, replay = Scope.DELIVERIES_READ, Scope.DELIVERIES_REPLAY
        return [
            Action("GET", _PATH, read, self.groups),
            Action("GET", f"{_PATH}/all", read, self.index),
            Action("GET", f"{_PATH}/replay", replay, self.preview),
            Action("POST", f"{_PATH}/replay", replay, self.replay_group),
            Action("POST", f"{_PATH}/replay/cancel", replay, self.cancel_replay),
            Action("GET", _ONE, read, self.show),
            Action("POST", f"{_ONE}/replay", replay, self.replay),
            Action("POST", f"{_ONE}/discard", replay, self.discard),
        ]

    async def groups(self, visit: Visit) -> Page:
        """What is open, by subscription and reason, the largest group first."""
        opened = visit.bounds.narrowed(DeadLetterFilter(resolved=False))
        counts = await self._reads.dead_letter_summary(visit.tenant, opened)
        shown = {
            "groups": grouped(counts),
            "receivers": await self._receivers(visit, counts),
            "under_way": [
                (each, percentage(Raw(each.progress or b"")))
                for each in await self._own.under_way(visit)
            ],
        }
        return Page("dead_letters.html", "Dead letters", shown)

    async def index(self, visit: Visit) -> Page | Refusal:
        """Dead letters one by one, newest event first."""
        asked = _ALL.read(visit.request)
        if isinstance(asked, Refusal):
            return asked
        which = visit.bounds.narrowed(asked.which)
        page = await self._reads.dead_letters(visit.tenant, which, asked.span)
        shown = {
            "items": page.items,
            "receivers": await self._receivers(visit, page.items),
            "given": visit.given,
            "reasons": list(DeadReason),
            "further": page.next and _ALL.address_of(visit.request, page.next),
        }
        return Page("dead_letter_list.html", "Dead letters", shown)

    async def show(self, visit: Visit) -> Page | Refusal:
        """One dead letter, and how each attempt went."""
        view = await self._found(visit)
        if isinstance(view, Refusal):
            return view
        attempts = await self._reads.attempts(view.ref)
        shown = {
            "letter": view,
            "receivers": await self._receivers(visit, [view]),
            "attempts": [seen(each) for each in attempts],
            "is_open": view.state == DeadLetterState.OPEN,
            "is_moving": view.state == DeadLetterState.REPLAYING,
        }
        return Page("dead_letter.html", "Dead letter", shown)

    async def replay(self, visit: Visit) -> Answer | Refusal:
        """Send one again: the same delivery, its schedule anew."""
        ref = _ref(visit)
        if isinstance(ref, Refusal):
            return ref
        result = await self._replays.one(visit.principal, ref, Trigger.REPLAY)
        if isinstance(result, Refusal):
            return result
        return visit.to(f"/deliveries/{ids.delivery_id(ref)}?done=replayed")

    async def discard(self, visit: Visit) -> Answer | Refusal:
        """Delete one; the audit log keeps that it was there."""
        ref = _ref(visit)
        if isinstance(ref, Refusal):
            return ref
        refusal = await self._replays.discard(visit.principal, ref)
        return refusal or visit.to(f"{_PATH}?done=discarded")

    async def preview(self, visit: Visit) -> Page | Refusal:
        """What a replay of a group would send again, before it does."""
        asked = _GROUP.filter(visit.request)
        if isinstance(asked, Refusal):
            return asked
        now = self._clock.now()
        which = visit.bounds.narrowed(replace(asked, resolved=False, until=now + 1))
        found = await self._reads.dead_letter_summary(visit.tenant, which)
        known = await self._receivers(visit, found)
        able = sum(each.count for each in found if known[each.subscription_id].is_able)
        shown = {
            "groups": grouped(found),
            "receivers": known,
            "count": able,
            "left_out": sum(each.count for each in found) - able,
            "given": visit.given,
            "until": times.render(now + 1),
            "rates": RATES,
        }
        return Page("replay.html", "Replay dead letters", shown)

    async def replay_group(self, visit: Visit) -> Answer | Refusal:
        """Begin the replay that was looked at; its operation shows how far it is."""
        form = visit.form
        subscription_no = None
        name = visit.bounds.own(form.one("subscriptionId") or None)
        if name is not None:
            subscription = await self._reads.subscription(visit.tenant, name)
            if subscription is None:
                return not_found("subscription", name)
            subscription_no = subscription.no
        reason = form.one("reason")
        plan = ReplayPlan(
            kind="dead_letters",
            only="dead",
            since=0,
            until=times.parse(form.one("until")) or self._clock.now() + 1,
            subscription_no=subscription_no,
            reason=reason if reason in set(DeadReason) else None,
        )
        if reason and plan.reason is None:
            return not_found("reason", reason)  # a filter misspelt must not become one left out
        return await begin(visit, self._replays, plan, _PATH)

    async def cancel_replay(self, visit: Visit) -> Answer | Refusal:
        """End a replay that this visitor began; what was sent again by then stays so."""
        ended = await self._own.cancel(visit, visit.form.one("operation"))
        return ended if isinstance(ended, Refusal) else visit.to(f"{_PATH}?done=cancelled")

    async def _receivers(
        self, visit: Visit, about: Iterable[DeadLetterView | DeadLetterCount]
    ) -> Mapping[str, Known]:
        return await receivers(visit, self._reads, [each.subscription_id for each in about])

    async def _found(self, visit: Visit) -> DeadLetterView | Refusal:
        ref = _ref(visit)
        if isinstance(ref, Refusal):
            return ref
        view = await self._reads.dead_letter(visit.tenant, ref)
        return not_found("dead letter", visit.name()) if view is None else view


def _ref(visit: Visit) -> DeliveryRef | Refusal:
    ref = ids.parse_ref("dl", visit.name())
    return not_found("dead letter", visit.name()) if ref is None else ref
