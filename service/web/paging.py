"""Lists: a page at a time, each naming the address of the next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from service.domain.errors import Refusal
from service.ports import Page, Span
from service.web import answers, queries
from service.web.answers import Answer
from service.web.authentication import TICKET
from service.web.problems import instance_of

T = TypeVar("T")

#: What the address of a next page leaves out: this place, and what nobody should find in a log.
_NOT_REPEATED = ("cursor", TICKET)


@dataclass(frozen=True, slots=True)
class Listing:
    """A kind of list: its name in cursors, the numbers of a place in it, its filters."""

    kind: str
    width: int
    filters: Mapping[str, queries.Reader]

    def read(self, request: Request) -> tuple[Span, dict[str, Any]] | Refusal:
        """The span asked for and the filters given."""
        readers = {
            **self.filters,
            "limit": queries.limit,
            "cursor": queries.cursor(self.kind, self.width),
        }
        values = queries.read(request, readers)
        if isinstance(values, Refusal):
            return values
        after = values.pop("cursor", None)
        return Span(values.pop("limit", queries.DEFAULT_LIMIT), after), values

    def answer(
        self, request: Request, page: Page[T], render: Callable[[T], object], public_url: str
    ) -> Answer:
        """The page as it goes out, with a ``Link`` to the next."""
        body: dict[str, object] = {"data": [render(item) for item in page.items]}
        if page.next is None:
            return answers.of({**body, "pagination": {"nextCursor": None}})
        link = f'<{public_url}{self.address_of(request, page.next)}>; rel="next"'
        body["pagination"] = {"nextCursor": queries.cursor_text(self.kind, page.next)}
        return answers.of(body, headers=(("link", link),))

    def address_of(self, request: Request, place: tuple[int, ...]) -> str:
        """The path and query by which the page after ``place`` is asked for."""
        cursor = queries.cursor_text(self.kind, place)
        others = [(k, v) for k, v in request.query_params.multi_items() if k not in _NOT_REPEATED]
        query = urlencode([*others, ("cursor", cursor)], safe=queries.UNQUOTED)
        return f"{instance_of(request.scope)}?{query}"
