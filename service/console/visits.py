"""One request on its way through a handler of the console, and what it answers with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from service.console.sessions import Session
from service.domain.api_keys import Scope, covers
from service.domain.errors import Refusal, RefusalKind
from service.ports import Principal
from service.web import bodies
from service.web.answers import Answer, Headers
from service.web.calls import Streamed

#: Where the console is.
ROOT: Final = "/console"

_FORMS: Final = ("application/x-www-form-urlencoded",)
#: No form here needs more.
_MAX_FORM: Final = 64 * 1024
_MAX_FIELDS: Final = 100


class Form:
    """The fields of a form."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def one(self, name: str) -> str:
        """The field, without spaces around it; empty where it was not sent."""
        return next((value.strip() for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """All values of the field: of boxes that were ticked."""
        return [value for key, value in self._pairs if key == name]

    def parts(self, name: str) -> list[str]:
        """What stands in the field between commas and line breaks."""
        return [
            part.strip() for part in self.one(name).replace("\n", ",").split(",") if part.strip()
        ]


class Given(dict[str, str]):
    """What an address says besides its path; what it does not say is empty."""

    def __missing__(self, _: str) -> str:
        """Nothing was said."""
        return ""


NO_FORM: Final = Form([])


async def form_of(request: Request) -> Form | Refusal:
    """The form that was sent."""
    refused = bodies.media_type(request, _FORMS)
    if isinstance(refused, Refusal):
        return refused
    body = await bodies.read(request, _MAX_FORM)
    if isinstance(body, Refusal):
        return body
    try:
        return Form(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:  # not UTF-8, or more fields than any form has
        return Refusal(RefusalKind.MALFORMED, "The form cannot be read. Go back and send it again.")


@dataclass(frozen=True, slots=True)
class Visit:
    """What is asked for, and by whom."""

    request: Request
    principal: Principal
    session: Session
    form: Form = NO_FORM

    @property
    def tenant(self) -> str:
        """The tenant whose things this visit may see."""
        return self.principal.tenant_id

    def may(self, needed: Scope) -> bool:
        """Whether the visitor may do what needs this scope."""
        return covers(self.principal.scopes, needed)

    @property
    def given(self) -> Given:
        """What the address says, as filters show it again."""
        return Given({k: v for k, v in self.request.query_params.items() if v})

    def name(self, parameter: str = "id") -> str:
        """A part of the path."""
        return str(self.request.path_params[parameter])


@dataclass(frozen=True, slots=True)
class Page:
    """A page to be rendered: its template, and what stands in it."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: Headers = ()


Handler = Callable[[Visit], Awaitable[Page | Answer | Refusal | Streamed]]


@dataclass(frozen=True, slots=True)
class Action:
    """What a method does at a path, and the scope it needs; ``None``: to be signed in is enough."""

    method: str
    path: str
    scope: Scope | None
    handler: Handler


def to(path: str, *headers: tuple[str, str]) -> Answer:
    """Go on at a path of the console: what a form that was done answers with."""
    return Answer(303, headers=(("location", f"{ROOT}{path}"), *headers))
