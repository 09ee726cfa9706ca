"""Subscriptions made and changed: the forms, and what comes of them."""

from typing import Any, Final

import msgspec

from service.console import forms, subscription_forms
from service.console.forms import Filled, Texts
from service.console.receivers import of_address
from service.console.services import Reads, Services
from service.console.subscription_forms import CHOICES, READERS, REMOVALS
from service.console.subscriptions import secret_page
from service.console.visits import Action, Form, Page, Visit
from service.domain.api_keys import Scope
from service.domain.certificates import read_facts
from service.domain.errors import Refusal, conflict, invalid
from service.domain.subscription import Subscription
from service.ports import Replayed
from service.usecases.manage_subscriptions import SubscriptionInput, WithSecret
from service.web.answers import Answer

_PATH: Final = "/subscriptions"
_ONE: Final = f"{_PATH}/{{id}}"
_SECRET: Final = "secret"  # noqa: S105  the name of a field
_MEANWHILE: Final = conflict(
    "Somebody changed this subscription meanwhile, so nothing was saved. What you had left alone "
    "is shown as it is now, what you had typed is as you typed it. Look it over and save again."
)


class SubscriptionEditing:
    """Handlers of forms that a whole tenant's subscriptions are made and changed with."""

    def __init__(self, services: Services) -> None:
        self._bodies = services.bodies
        self._reads = services.reads
        self._manage = services.subscriptions

    def actions(self) -> list[Action]:
        """What is possible; to whom one subscription is shown, what it gets is not to be widened.

        Paths with names of their own come before ids.
        """
        write = Scope.SUBSCRIPTIONS_WRITE
        return [
            Action("POST", _PATH, write, self.create, whole=True),
            Action("GET", f"{_PATH}/new", write, self.new, whole=True),
            Action("GET", f"{_ONE}/edit", write, self.edit, whole=True),
            Action("POST", f"{_ONE}/edit", write, self.change, whole=True),
        ]

    async def new(self, _: Visit) -> Page:
        """The form of a new one."""
        return _new(Filled())

    async def create(self, visit: Visit) -> Page | Refusal:
        """Make one; its secret is shown this once."""
        texts = forms.texts_of(visit.form, READERS)
        secret = visit.form.one(_SECRET)
        made = await self._made(visit, texts, secret)
        if isinstance(made, Refusal):
            return _new(Filled({**texts, _SECRET: secret}, made))
        return secret_page(made.subscription, {made.secret: None}, "Subscription created")

    async def edit(self, visit: Visit) -> Page | Refusal:
        """The form of one that is there."""
        found = await of_address(visit, self._reads)
        if isinstance(found, Refusal):
            return found
        texts = subscription_forms.shown(found)
        return _edited(found, Filled(texts, marks=forms.marks(texts)))

    async def change(self, visit: Visit) -> Page | Answer | Refusal:
        """Change what was changed in the form, unless somebody else changed anything meanwhile."""
        found = await of_address(visit, self._reads)
        if isinstance(found, Refusal):
            return found
        texts = forms.texts_of(visit.form, READERS)
        if visit.form.one("version") != str(found.version):
            return _meanwhile(visit, found, texts)
        body = _wanted(visit.form, texts, subscription_forms.shown(found))
        changed = await self._changed(visit, texts, body, found.version) if body else found
        if isinstance(changed, Refusal):
            return await self._refused(visit, found, texts, changed)
        return visit.to(f"{_PATH}/{visit.name()}?done={'saved' if body else 'unchanged'}")

    async def _refused(
        self, visit: Visit, found: Subscription, texts: Texts, refusal: Refusal
    ) -> Page | Refusal:
        """The form as it was sent; over what is there now, if that is why it was refused."""
        now = await of_address(visit, self._reads)
        if isinstance(now, Refusal):
            return now
        if now.version != found.version:
            return _meanwhile(visit, now, texts)
        marks = forms.marks(subscription_forms.shown(found))
        return _edited(found, Filled(texts, refusal, marks=marks))

    async def _made(self, visit: Visit, texts: Texts, secret: str) -> WithSecret | Refusal:
        wanted = [name for name, text in texts.items() if text or name == "url"]
        body = subscription_forms.body_of(texts, wanted)
        if secret:
            body[_SECRET] = secret
        given = _read(self._bodies.subscription, texts, body)
        if isinstance(given, Refusal):
            return given
        made = await self._manage.create(visit.principal, given, None)
        if isinstance(made, Replayed):
            raise TypeError("A subscription without an Idempotency-Key was replayed.")
        return made

    async def _changed(
        self, visit: Visit, texts: Texts, body: dict[str, object], version: int
    ) -> Subscription | Refusal:
        given = _read(self._bodies.subscription_patch, texts, body)
        if isinstance(given, Refusal):
            return given
        return await self._manage.change(visit.principal, visit.name(), given, version)


def _read(
    read: Reads[SubscriptionInput], texts: Texts, body: dict[str, object]
) -> SubscriptionInput | Refusal:
    """The body by the API's rules, and by those of the form."""
    given = read(msgspec.json.encode(body))
    faults = subscription_forms.header_faults(texts)
    if not faults:
        return given
    return invalid(*(given.faults if isinstance(given, Refusal) else ()), *faults)


def _wanted(form: Form, texts: Texts, present: Texts) -> dict[str, object]:
    """What the form would have otherwise than it is, as the API's body."""
    names = [name for name in READERS if texts[name] != present[name]]
    body = subscription_forms.body_of(texts, names)
    gone = [name for box in form.all("remove") for name in REMOVALS.get(box, ())]
    return {**dict.fromkeys(gone), **body}


def _meanwhile(visit: Visit, now: Subscription, texts: Texts) -> Page:
    """The form once more, over what somebody else has made of it."""
    present = subscription_forms.shown(now)
    merged, others = forms.merged(texts, visit.form.one("marks"), present)
    return _edited(now, Filled(merged, _MEANWHILE, others, forms.marks(present)))


def _new(filled: Filled) -> Page:
    return _page("New subscription", filled, {"subscription": None})


def _edited(subscription: Subscription, filled: Filled) -> Page:
    tls = read_facts(subscription.tls_facts)
    return _page("Edit subscription", filled, {"subscription": subscription, "tls": tls})


def _page(title: str, filled: Filled, others: dict[str, Any]) -> Page:
    shown = {"filled": subscription_forms.returned(filled), "choices": CHOICES, **others}
    return Page("subscription_form.html", title, shown, status=filled.status)
