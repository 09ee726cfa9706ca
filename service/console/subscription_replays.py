"""What a subscription should have got is sent again: counted and asked about, then begun."""

from dataclasses import replace
from typing import Final

from service.console.replaying import RATES, begin
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain import times
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import ReplayPlan
from service.web import queries
from service.web.answers import Answer

_PATH: Final = "/subscriptions/{id}/replay"
#: Milliseconds back from now, for what a replay reaches.
REACHES: Final = {"3600000": "hour", "86400000": "day", "604800000": "7 days"}
WHICH: Final = {
    "dead": "what is dead",
    "missing": "what it never got, because it came later or was disabled",
    "all": "everything, delivered or not",
}
_ASKED: Final = {"only": queries.one_of(WHICH), "reach": queries.one_of(REACHES)}


class SubscriptionReplays:
    """Handlers of the bulk replay to one subscription."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._replays = services.replays
        self._clock = services.clock

    def actions(self) -> list[Action]:
        """First what would be sent, then that it is."""
        needed = Scope.DELIVERIES_REPLAY
        return [
            Action("GET", _PATH, needed, self.preview),
            Action("POST", _PATH, needed, self.start),
        ]

    async def preview(self, visit: Visit) -> Page | Refusal:
        """What would be sent, before it is."""
        asked = queries.read(visit.request, _ASKED)
        if isinstance(asked, Refusal):
            return asked
        found = await self._found(visit)
        if isinstance(found, Refusal):
            return found
        only, reach = visit.given["only"], visit.given["reach"]
        plan = self._plan(found, only, reach, self._clock.now() + 1)
        if isinstance(plan, Refusal):
            return plan
        shown = {
            "subscription": found,
            "is_disabled": found.status is SubscriptionStatus.DISABLED,
            "count": await self._replays.count(visit.principal, plan),
            "what": WHICH[only],
            "since": plan.since,
            "until": plan.until,
            "hidden": {"only": only, "reach": reach, "until": times.render(plan.until)},
            "rates": RATES,
        }
        return Page("subscription_replay.html", "Send again", shown)

    async def start(self, visit: Visit) -> Answer | Refusal:
        """Begin the replay that was looked at; its operation shows how far it is."""
        found = await self._found(visit)
        if isinstance(found, Refusal):
            return found
        form = visit.form
        until = times.parse(form.one("until")) or self._clock.now() + 1
        plan = self._plan(found, form.one("only"), form.one("reach"), until)
        if isinstance(plan, Refusal):
            return plan
        plan = replace(plan, dry_run=form.one("dryRun") == "true")
        return await begin(visit, self._replays, plan, f"/subscriptions/{found.id}")

    def _plan(
        self, subscription: Subscription, only: str, reach: str, until: int
    ) -> ReplayPlan | Refusal:
        """The replay of what was chosen, of events before ``until``: what comes later is not in."""
        if only not in WHICH or reach not in REACHES:
            return not_found("replay of", f"{only} {reach}")
        return ReplayPlan(
            kind="subscription",
            only=only,  # type: ignore[arg-type]  # one of the three, as was just looked at
            since=max(until - int(reach), 0),
            until=until,
            subscription_no=subscription.no,
        )

    async def _found(self, visit: Visit) -> Subscription | Refusal:
        found = await self._reads.subscription(visit.tenant, visit.name())
        return not_found("subscription", visit.name()) if found is None else found
