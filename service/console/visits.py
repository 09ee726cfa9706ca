"""One request on its way through a handler of a page, and what it answers with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from service.console.bounds import Bounds
from service.console.sessions import Session
from service.console.site import Section, Site
from service.domain.api_keys import Scope, covers
from service.domain.errors import Refusal, RefusalKind
from service.ports import Principal
from service.web import bodies
from service.web.answers import Answer, Headers
from service.web.calls import Streamed

_FORMS: Final = ("application/x-www-form-urlencoded",)
#: No form of a stranger needs more; of who is signed in, certificates, escaped, are the longest.
SHORT: Final = 64 * 1024
LONG: Final = 512 * 1024
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
ALL_OF_IT: Final = Bounds()


async def form_of(request: Request, longest: int = SHORT) -> Form | Refusal:
    """The form that was sent; ``longest`` is in bytes."""
    refused = bodies.media_type(request, _FORMS)
    if isinstance(refused, Refusal):
        return refused
    body = await bodies.read(request, longest)
    if isinstance(body, Refusal):
        return body
    try:
        return Form(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:  # not UTF-8, or more fields than any form has
        return Refusal(RefusalKind.MALFORMED, "The form cannot be read. Go back and send it again.")


@dataclass(frozen=True, slots=True)
class Guest:
    """Who was let in, what of his tenant's things he sees, and who may embed what he sees."""

    principal: Principal
    bounds: Bounds = ALL_OF_IT
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Visit:
    """What is asked for, and by whom."""

    request: Request
    guest: Guest
    session: Session
    site: Site
    form: Form = NO_FORM

    @property
    def principal(self) -> Principal:
        """On whose behalf things are done."""
        return self.guest.principal

    @property
    def tenant(self) -> str:
        """The tenant whose things this visit may see."""
        return self.principal.tenant_id

    @property
    def bounds(self) -> Bounds:
        """What of the tenant's things this visit may see."""
        return self.guest.bounds

    @property
    def sees_all(self) -> bool:
        """Whether that is all of them."""
        return self.bounds.subscription is None

    def may(self, needed: Scope) -> bool:
        """Whether the visitor may do what needs this scope."""
        return covers(self.principal.scopes, needed)

    def opens(self, section: Section) -> bool:
        """Whether the visitor may look at these pages."""
        if section.whole and not self.sees_all:
            return False
        return section.scope is None or self.may(section.scope)

    def leads(self, path: str) -> bool:
        """Whether a link to a path below the root leads to something that may be looked at."""
        section = self.site.section_of(path)
        return section is not None and self.opens(section)

    def started(self, operation_id: str, path: str) -> Answer:
        """Go on at the operation that was started, or at ``path`` where it may not be seen."""
        below = f"/operations/{operation_id}"
        return self.to(f"{below}?done=started" if self.leads(below) else f"{path}?done=begun")

    def to(self, path: str, *headers: tuple[str, str]) -> Answer:
        """Go on at a path below the root: what a form that was done answers with."""
        return Answer(303, headers=(("location", f"{self.site.root}{path}"), *headers))

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
    #: Whether it has others of ours in it.
    frames: bool = False


Handler = Callable[[Visit], Awaitable[Page | Answer | Refusal | Streamed]]


@dataclass(frozen=True, slots=True)
class Action:
    """What a method does at a path, and the scope it needs; ``None``: to be let in is enough."""

    method: str
    path: str
    scope: Scope | None
    handler: Handler
    #: Whether it is only for who sees the whole tenant.
    whole: bool = False
