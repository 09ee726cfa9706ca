"""Lists: a page at a time, each naming the address of the next."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from service.domain.errors import Refusal
from service.ports import Page, Span
from service.web import answers, queries
from service.web.answers import Answer
from service.web.authentication import TICKET
from service.web.problems import instance_of

T = TypeVar("T")
F = TypeVar("F")

_CAPITAL: Final = re.compile("[A-Z]")
#: What the address of a next page leaves out: this place, what nobody should find in a log, and
#: what was just done.
_NOT_REPEATED = ("cursor", TICKET, "done")


@dataclass(frozen=True, slots=True)
class Asked(Generic[F]):
    """What is asked of a list: from where, which rows, and what else was said, by name."""

    span: Span
    which: F
    others: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listing(Generic[F]):
    """A kind of list: its name in cursors, the numbers of a place in it, its filters.

    ``which`` makes the filter of what was given, by the names in Python (``event_type`` for
    ``eventType``); ``others`` are parameters of a page that leave no row out.
    """

    kind: str
    width: int
    filters: Mapping[str, queries.Reader]
    which: Callable[..., F]
    others: Mapping[str, queries.Reader] = field(default_factory=dict)

    def also(self, others: Mapping[str, queries.Reader]) -> "Listing[F]":
        """The same list on a page that takes more parameters."""
        return replace(self, others=others)

    def only(self, *names: str) -> "Listing[F]":
        """The same list where fewer filters are taken: what is said goes on to where no more is."""
        return replace(self, filters={name: self.filters[name] for name in names})

    def read(self, request: Request) -> Asked[F] | Refusal:
        """The span asked for, the filter, and the other parameters given."""
        readers = {
            **self.filters,
            **self.others,
            "limit": queries.limit,
            "cursor": queries.cursor(self.kind, self.width),
        }
        values = queries.read(request, readers)
        if isinstance(values, Refusal):
            return values
        span = Span(values.pop("limit", queries.DEFAULT_LIMIT), values.pop("cursor", None))
        others = {name: values.pop(name) for name in self.others if name in values}
        return Asked(span, self._made(values), others)

    def filter(self, request: Request) -> F | Refusal:
        """The filter given, where all rows count and none is shown."""
        values = queries.read(request, self.filters)
        return values if isinstance(values, Refusal) else self._made(values)

    def _made(self, values: Mapping[str, Any]) -> F:
        return self.which(**{_in_python(name): value for name, value in values.items()})

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


def _in_python(name: str) -> str:
    return _CAPITAL.sub(lambda found: "_" + found[0].lower(), name)
