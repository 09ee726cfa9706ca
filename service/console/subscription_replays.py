"""What a subscription should have got is sent again: counted and asked about, then begun."""

from dataclasses import replace
from typing import Final

from service.console.receivers import of_address
from service.console.replaying import RATES, begin
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain import times
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind
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
_FIRST: Final = {"only": next(iter(WHICH)), "reach": next(iter(REACHES))}
_NO_CHOICE: Final = Refusal(
    RefusalKind.NOT_FOUND,
    "What to send, or of what time, is nothing that can be chosen, so nothing was sent. Open the "
    "subscription's page and choose there.",
)


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
        found = await of_address(visit, self._reads)
        if isinstance(found, Refusal):
            return found
        # what an address leaves out is as the form first has it: people open it from their history
        only, reach = (asked.get(name, first) for name, first in _FIRST.items())
        plan = _plan(found, only, reach, self._clock.now() + 1)
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
        found = await of_address(visit, self._reads)
        if isinstance(found, Refusal):
            return found
        form = visit.form
        until = times.parse(form.one("until")) or self._clock.now() + 1
        only, reach = form.one("only"), form.one("reach")
        if only not in WHICH or reach not in REACHES:
            return _NO_CHOICE  # a choice misspelt must not become another
        is_dry = form.one("dryRun") == "true"
        plan = replace(_plan(found, only, reach, until), dry_run=is_dry)
        return await begin(visit, self._replays, plan, f"/subscriptions/{found.id}")


def _plan(subscription: Subscription, only: str, reach: str, until: int) -> ReplayPlan:
    """The replay of what was chosen, of events before ``until``: what comes later is not in."""
    return ReplayPlan(
        kind="subscription",
        only=only,  # type: ignore[arg-type]  # one of the three, as was looked at
        since=max(until - int(reach), 0),
        until=until,
        subscription_no=subscription.no,
    )
