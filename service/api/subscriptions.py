"""Subscriptions: made, read, changed, paused, tested; their secrets rotated and revealed."""

from typing import Any, Final

from service.api import delivery_shape, subscription_shape
from service.api.links import Links
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.api.subscription_bodies import NewSubscriptionBody, RotateBody, SubscriptionPatch
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.subscription import Subscription
from service.ports import Once, Replayed
from service.usecases.manage_subscriptions import WithSecret
from service.web import answers, bodies, queries
from service.web.answers import Answer
from service.web.calls import Call
from service.web.idempotency import Idempotency
from service.web.listings import SUBSCRIPTIONS
from service.web.paging import Listing

PATCH_TYPES: Final = (*bodies.JSON_TYPES, "application/merge-patch+json")
_PATH: Final = "/v1/subscriptions"
_ONE: Final = f"{_PATH}/{{id}}"

UNDELIVERED: Final = Listing("undelivered", 1, {"since": queries.moment}, dict[str, Any])


class NoBody(Body):
    """Nothing needs to be said."""


class Subscriptions:
    """Handlers of subscriptions."""

    def __init__(self, services: Services, idempotency: Idempotency, links: Links) -> None:
        self._services = services
        self._manage = services.subscriptions
        self._idempotency = idempotency
        self._links = links

    def actions(self) -> list[Action]:
        """What is possible with subscriptions."""
        read, write = Scope.SUBSCRIPTIONS_READ, Scope.SUBSCRIPTIONS_WRITE
        return [
            Action("POST", _PATH, write, self.create),
            Action("GET", _PATH, read, self.list),
            Action("GET", _ONE, read, self.get),
            Action("PATCH", _ONE, write, self.change),
            Action("DELETE", _ONE, write, self.delete),
            Action("POST", f"{_ONE}/pause", write, self.pause),
            Action("POST", f"{_ONE}/resume", write, self.resume),
            Action("POST", f"{_ONE}/test", write, self.test),
            Action("POST", f"{_ONE}/rotate-secret", write, self.rotate),
            Action("GET", f"{_ONE}/secret", read, self.reveal),
            Action("GET", f"{_ONE}/undelivered", Scope.DELIVERIES_READ, self.undelivered),
        ]

    async def create(self, call: Call) -> Answer | Refusal:
        """Make a subscription; its secret is shown this once."""
        given = await body_of(call, NewSubscriptionBody)
        if isinstance(given, Refusal):
            return given
        wanted = given[0].given(given[0].secret)

        async def act(once: Once | None) -> WithSecret | Refusal | Replayed:
            return await self._manage.create(call.principal, wanted, once)

        return await self._idempotency.run(call, given[1], act, self._created, self._created)

    async def list(self, call: Call) -> Answer | Refusal:
        """Subscriptions, newest first."""
        asked = SUBSCRIPTIONS.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        status, operation_id = asked.which.get("status"), asked.which.get("operation_id")
        page = await self._services.reads.subscriptions(
            call.tenant, status, operation_id, asked.span
        )
        return SUBSCRIPTIONS.answer(call.request, page, subscription_shape.shown, self._links.base)

    async def get(self, call: Call) -> Answer | Refusal:
        """One subscription."""
        return _answered(await self._found(call))

    async def change(self, call: Call) -> Answer | Refusal:
        """Change what is given, leave the rest."""
        given = await body_of(call, SubscriptionPatch, PATCH_TYPES)
        if isinstance(given, Refusal):
            return given
        return _answered(await self._manage.change(call.principal, call.name(), given[0].given()))

    async def delete(self, call: Call) -> Answer | Refusal:
        """Delete a subscription."""
        refusal = await self._manage.delete(call.principal, call.name())
        return Answer(204) if refusal is None else refusal

    async def pause(self, call: Call) -> Answer | Refusal:
        """Let deliveries wait."""
        given = await body_of(call, NoBody)
        if isinstance(given, Refusal):
            return given
        return _answered(await self._manage.pause(call.principal, call.name()))

    async def resume(self, call: Call) -> Answer | Refusal:
        """Send again."""
        given = await body_of(call, NoBody)
        if isinstance(given, Refusal):
            return given
        return _answered(await self._manage.resume(call.principal, call.name()))

    async def test(self, call: Call) -> Answer | Refusal:
        """Send one test event now, and show what came of it."""
        given = await body_of(call, NoBody)
        if isinstance(given, Refusal):
            return given
        trial = await self._services.trials.send(call.principal, call.name())
        if isinstance(trial, Refusal):
            return trial
        return answers.of(delivery_shape.trial_shown(trial))

    async def rotate(self, call: Call) -> Answer | Refusal:
        """Make a new secret; it is shown this once."""
        given = await body_of(call, RotateBody)
        if isinstance(given, Refusal):
            return given
        overlap = given[0].overlap_seconds

        async def act(once: Once | None) -> WithSecret | Refusal | Replayed:
            return await self._manage.rotate(call.principal, call.name(), overlap, once)

        return await self._idempotency.run(call, given[1], act, _rotated, _rotated)

    async def reveal(self, call: Call) -> Answer | Refusal:
        """The secrets that sign now."""
        opened = await self._manage.reveal(call.principal, call.name())
        if isinstance(opened, Refusal):
            return opened
        return answers.of(subscription_shape.secrets_shown(call.name(), opened))

    async def undelivered(self, call: Call) -> Answer | Refusal:
        """Events that match and were not delivered, oldest first, and why."""
        asked = UNDELIVERED.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        subscription = await self._found(call)
        if isinstance(subscription, Refusal):
            return subscription
        span, values = asked.span, asked.which
        page = await self._services.reads.undelivered(
            call.tenant, subscription, values.get("since", 0), span
        )
        return UNDELIVERED.answer(
            call.request, page, delivery_shape.undelivered_shown, self._links.base
        )

    async def _found(self, call: Call) -> Subscription | Refusal:
        found = await self._services.reads.subscription(call.tenant, call.name())
        return not_found("subscription", call.name()) if found is None else found

    def _created(self, made: WithSecret) -> Answer:
        body = subscription_shape.shown(made.subscription, made.secret)
        location = ("location", self._links.subscription(made.subscription.id))
        return answers.of(body, 201, (location,))


def _rotated(made: WithSecret) -> Answer:
    return answers.of(subscription_shape.shown(made.subscription, made.secret))


def _answered(subscription: Subscription | Refusal) -> Answer | Refusal:
    if isinstance(subscription, Refusal):
        return subscription
    return answers.of(subscription_shape.shown(subscription))
