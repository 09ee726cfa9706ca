"""The document and the page made of it, as anybody may ask for them."""

from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from typing import Final

from service.api.openapi.document import document
from service.api.openapi.page import page
from service.api.openapi.tables import TABLE
from service.api.routing import Action
from service.domain.errors import Refusal
from service.web import etags
from service.web.answers import Answer
from service.web.calls import Call

_NOWHERE: Final = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
#: The page needs its style sheet and nothing else, from nowhere else.
_POLICY: Final = (
    "content-security-policy",
    f"default-src 'none'; style-src 'self'; {_NOWHERE}",
)
_HEADERS: Final = (
    ("cache-control", "public, no-cache"),
    ("x-content-type-options", "nosniff"),
)
_HTML: Final = "text/html; charset=utf-8"
_CSS: Final = "text/css; charset=utf-8"
TEMPLATES: Final = "templates"


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
            Action("GET", "/docs/style.css", None, self.style),
        ]

    @cached_property
    def text(self) -> bytes:
        """The document as JSON."""
        return document([*self._others, *self.actions()], TABLE, self._public_url)

    @cached_property
    def _page(self) -> bytes:
        return page(self.text)

    @cached_property
    def _style(self) -> bytes:
        return resources.files(__package__).joinpath(TEMPLATES, "style.css").read_bytes()

    async def document(self, call: Call) -> Answer | Refusal:
        """The description for programs."""
        return etags.conditional(call.request, Answer(200, self.text), *_HEADERS)

    async def page(self, call: Call) -> Answer | Refusal:
        """The description for people."""
        answer = Answer(200, self._page, media_type=_HTML)
        return etags.conditional(call.request, answer, *_HEADERS, _POLICY)

    async def style(self, call: Call) -> Answer | Refusal:
        """How the page looks."""
        return etags.conditional(call.request, Answer(200, self._style, media_type=_CSS), *_HEADERS)
