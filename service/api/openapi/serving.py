"""The document and the page made of it, as anybody may ask for them."""

from collections.abc import Sequence
from functools import cached_property

from service.api import publishing
from service.api.openapi.document import document
from service.api.openapi.page import page
from service.api.openapi.tables import TABLE
from service.api.routing import Action
from service.domain.errors import Refusal
from service.web.answers import JSON, Answer
from service.web.calls import Call


class Reference:
    """Handlers of the description; all is made when it is first asked for, and then kept."""

    def __init__(self, others: Sequence[Action], public_url: str) -> None:
        self._others = others
        self._public_url = public_url

    def actions(self) -> list[Action]:
        """Where the description is."""
        return [
            Action("GET", "/openapi.json", None, self.document),
            Action("GET", "/docs", None, self.page),
        ]

    @cached_property
    def text(self) -> bytes:
        """The document as JSON."""
        return document([*self._others, *self.actions()], TABLE, self._public_url)

    @cached_property
    def _page(self) -> bytes:
        return page(self.text)

    async def document(self, call: Call) -> Answer | Refusal:
        """The description for programs."""
        return publishing.file(call, self.text, JSON)

    async def page(self, call: Call) -> Answer | Refusal:
        """The description for people."""
        return publishing.page(call, self._page)
