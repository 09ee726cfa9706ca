"""Subscriptions: how each one fares, and all that its owner can do with it."""

from collections.abc import Mapping
from typing import Any, Final

from service.console import bounds
from service.console.attempt_charts import AttemptCharts
from service.console.attempts import seen
from service.console.receivers import of_address, of_one
from service.console.services import Services
from service.console.subscription_replays import REACHES, WHICH
from service.console.visits import Action, Page, Visit
from service.domain.api_keys import Scope
from service.domain.certificates import read_facts
from service.domain.errors import Refusal, not_found
from service.domain.subscription import Subscription, SubscriptionStatus
from service.web import queries
from service.web.answers import Answer
from service.web.listings import SUBSCRIPTIONS

_PATH: Final = "/subscriptions"
_ONE: Final = f"{_PATH}/{{id}}"
#: Seconds for which the present secret may go on signing beside a new one.
OVERLAPS: Final = {"86400": "for a day", "3600": "for an hour", "0": "not at all"}
_ALL: Final = SUBSCRIPTIONS.also({"done": queries.text})


class Subscriptions:
    """Handlers of subscriptions."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reads = services.reads
        self._manage = services.subscriptions
        self._attempts = AttemptCharts(services)

    def actions(self) -> list[Action]:
        """What is possible with subscriptions."""
        read, write = Scope.SUBSCRIPTIONS_READ, Scope.SUBSCRIPTIONS_WRITE
        return [
            Action("GET", _PATH, read, self.index),
            Action("GET", _ONE, read, self.show),
            Action("POST", f"{_ONE}/pause", write, of_one(self._reads, self.pause)),
            Action("POST", f"{_ONE}/resume", write, of_one(self._reads, self.resume)),
            Action("POST", f"{_ONE}/test", write, of_one(self._reads, self.test)),
            Action("POST", f"{_ONE}/rotate-secret", write, of_one(self._reads, self.rotate)),
            Action("POST", f"{_ONE}/reveal", read, self.reveal),
            Action("POST", f"{_ONE}/delete", write, of_one(self._reads, self.delete), whole=True),
            *self._attempts.actions(),
        ]

    async def index(self, visit: Visit) -> Page | Refusal:
        """Subscriptions, newest first."""
        asked = _ALL.read(visit.request)
        if isinstance(asked, Refusal):
            return asked
        which = bounds.SubscriptionFilter(**asked.which)
        page = await bounds.subscriptions(
            self._reads, visit.tenant, visit.bounds, which, asked.span
        )
        seen_of = page.items if visit.may(Scope.DELIVERIES_READ) else ()
        healths = await self._services.stats.healths([each.no for each in seen_of])
        shown = {
            "items": page.items,
            "healths": healths,
            "given": visit.given,
            "statuses": list(SubscriptionStatus),
            "further": page.next and _ALL.address_of(visit.request, page.next),
        }
        return Page("subscriptions.html", "Subscriptions", shown)

    async def show(self, visit: Visit) -> Page | Refusal:
        """One subscription, and how it fares."""
        found = await of_address(visit, self._reads)
        if isinstance(found, Refusal):
            return found
        shown: dict[str, Any] = {"subscription": found, "stats": None, "attempts": None}
        shown["tls"] = read_facts(found.tls_facts)
        if visit.may(Scope.DELIVERIES_READ):
            stats, limit = await self._services.stats.subscription(found.no)
            shown |= {"stats": stats, "limit": min(limit, found.max_concurrency or limit)}
            attempts = shown["attempts"] = await self._attempts.shown(found, visit)
            if isinstance(attempts, Refusal):
                return attempts
            shown["circuit"] = self._services.about.circuit_of(stats)
        shown |= {"overlaps": OVERLAPS, "reaches": REACHES, "which": WHICH}
        return Page("subscription.html", "Subscription", shown)

    async def pause(self, visit: Visit) -> Answer | Refusal:
        """Let deliveries wait."""
        result = await self._manage.pause(visit.principal, visit.name())
        return result if isinstance(result, Refusal) else _back(visit, "paused")

    async def resume(self, visit: Visit) -> Answer | Refusal:
        """Send again."""
        result = await self._manage.resume(visit.principal, visit.name())
        return result if isinstance(result, Refusal) else _back(visit, "resumed")

    async def test(self, visit: Visit) -> Page | Refusal:
        """Send one test event now, and show what came of it."""
        trial = await self._services.trials.send(visit.principal, visit.name())
        if isinstance(trial, Refusal):
            return trial
        shown = {"id": visit.name(), "attempt": seen(trial.attempt), "body": trial.event}
        return Page("trial.html", "Test event", shown)

    async def rotate(self, visit: Visit) -> Page | Refusal:
        """Make a new secret; it is shown this once."""
        overlap = visit.form.one("overlap")
        if overlap not in OVERLAPS:
            return not_found("overlap", overlap)
        rotated = await self._manage.rotate(visit.principal, visit.name(), float(overlap))
        if isinstance(rotated, Refusal):
            return rotated
        return secret_page(rotated.subscription, {rotated.secret: None}, "Secret rotated")

    async def reveal(self, visit: Visit) -> Page | Refusal:
        """The secrets that sign now; the audit log keeps who saw them."""
        found = await of_address(visit, self._reads)
        if isinstance(found, Refusal):
            return found
        opened = await self._manage.reveal(visit.principal, visit.name())
        if isinstance(opened, Refusal):
            return opened
        secrets = {each.text: each.secret.expires_at for each in opened}
        return secret_page(found, secrets, "Signing secrets", is_new=False)

    async def delete(self, visit: Visit) -> Answer | Refusal:
        """Delete it; what waits for it becomes dead letters."""
        refusal = await self._manage.delete(visit.principal, visit.name())
        return refusal or visit.to(f"{_PATH}?done=deleted")


def secret_page(
    subscription: Subscription,
    secrets: Mapping[str, int | None],
    title: str,
    *,
    is_new: bool = True,
) -> Page:
    """The page that shows secrets, with the moment (ms) at which each one ends, newest first."""
    shown = {"subscription": subscription, "secrets": list(secrets.items()), "is_new": is_new}
    return Page("secret.html", title, shown)


def _back(visit: Visit, done: str) -> Answer:
    return visit.to(f"{_PATH}/{visit.name()}?done={done}")
