"""A visitor of the console: what a browser without scripts does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Final

import httpx

from tests.support.api import ADMIN, BASE, Api

#: What a browser says of a form that a page of the console sent.
OWN: Final = {"origin": BASE, "sec-fetch-site": "same-origin"}


@dataclass
class Document(HTMLParser):
    """A page, taken apart: its text, and the forms on it."""

    html: str
    #: Text that a reader sees, in the order of the page.
    text: list[str] = field(default_factory=list)
    #: Addresses to which forms go, with the names of their fields.
    forms: dict[str, list[str]] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    token: str = ""
    #: What a browser would send back of each field that is no box, by name.
    fields: dict[str, str] = field(default_factory=dict)
    _form: list[str] = field(default_factory=list)
    #: The choice whose options come, and the field whose text comes.
    _select: str = ""
    _filled: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        had = dict(attrs)
        self.tags.append((tag, had))
        if tag == "form":
            self._form = self.forms.setdefault(had.get("action") or "", [])
        elif tag == "a":
            self.links.append(had.get("href") or "")
        elif tag == "option":
            self._offered(had)
        elif tag in ("input", "select", "textarea", "button") and had.get("name"):
            self._form.append(str(had["name"]))
            self._filled_in(tag, str(had["name"]), had)
            if had["name"] == "token":
                self.token = str(had["value"])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("textarea", "option"):
            self._filled = ""

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(" ".join(data.split()))
        if self._filled:
            self.fields[self._filled] = data.removeprefix("\n").strip()

    def _filled_in(self, tag: str, name: str, had: dict[str, str | None]) -> None:
        self._select = name if tag == "select" else ""
        self._filled = name if tag == "textarea" else ""
        if tag != "button" and had.get("type") not in ("checkbox", "radio"):
            self.fields[name] = had.get("value") or ""

    def _offered(self, had: dict[str, str | None]) -> None:
        """An option; without one that is said to be chosen, the field is sent empty."""
        if "selected" in had and self._select:
            self.fields[self._select] = had.get("value") or ""
            self._filled = "" if "value" in had else self._select

    def says(self, words: str) -> bool:
        """Whether a reader sees these words."""
        return words in " ".join(self.text)


@dataclass
class Visitor:
    """Somebody with a browser of his own."""

    client: httpx.AsyncClient

    async def sign_in(self, key: str, status: int = 303) -> httpx.Response:
        """Show a key."""
        form = {"key": key, "next": "/console"}
        answer = await self.client.post("/console/sign-in", data=form, headers=OWN)
        assert answer.status_code == status, answer.text
        return answer

    async def get(self, path: str, status: int = 200) -> Document:
        """Look at a page."""
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        return Document(answer.text)

    async def send(self, path: str, fields: Mapping[str, object] | None = None) -> httpx.Response:
        """Send a form of the same site."""
        token = (await self.get(f"/{path.split('/')[1]}")).token
        data = {"token": token, **(fields or {})}
        return await self.client.post(path, data=data, headers=OWN)

    async def press(self, path: str, fields: Mapping[str, object] | None = None) -> Document:
        """Send a form, and look at the page that comes of it."""
        answer = await self.send(path, fields)
        if answer.status_code == 303:
            return await self.get(answer.headers["location"])
        assert answer.status_code == 200, answer.text
        return Document(answer.text)

    async def enter(self, made: Mapping[str, Any], status: int = 303) -> httpx.Response:
        """Open a link into the portal, as the script of its page does."""
        form = {"link": str(made["url"]).partition("#")[2]}
        answer = await self.client.post("/portal/enter", data=form, headers=OWN)
        assert answer.status_code == status, answer.text
        return answer


def visitor(api: Api) -> Visitor:
    """A new browser."""
    transport = api.client._transport  # noqa: SLF001  the application, without the client's cookies
    return Visitor(httpx.AsyncClient(transport=transport, base_url=BASE))


async def administrator(api: Api) -> Visitor:
    """Somebody who may do everything."""
    found = visitor(api)
    await found.sign_in(ADMIN)
    return found


async def consumer(api: Api, **body: object) -> Visitor:
    """Somebody in the portal, by a link that says this."""
    made = await api.post("/v1/portal-links", body, 201)
    found = visitor(api)
    await found.enter(made)
    return found
