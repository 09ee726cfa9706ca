"""The guides as anybody may read them. What they are and in which order, their index says."""

from dataclasses import replace
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from markupsafe import escape

from service.api import publishing
from service.api.guide import markdown
from service.api.routing import Action
from service.domain.errors import Refusal, not_found
from service.web import templates
from service.web.answers import JSON, Answer
from service.web.browsers import takes_pages
from service.web.calls import Call

INDEX: Final = "index"
_MARKDOWN: Final = ".md"
#: Where a running service is, in the words of the guides; served, it is the one that serves them.
_HERE: Final = "http://127.0.0.1:8080"
_CSS: Final = "text/css; charset=utf-8"
#: Examples are shown as they are: no browser runs one because of its address.
_TEXT: Final = "text/plain; charset=utf-8"
#: What pages link to besides each other, in the folder above and in their own.
_EXAMPLES: Final = ("follow.py", "follow.js", "follow.html")
_VECTORS: Final = "vectors.json"


class Entry(NamedTuple):
    """A page in the contents."""

    name: str
    title: str


class Group(NamedTuple):
    """Pages that belong together."""

    title: str
    entries: list[Entry]


class Guide:
    """Handlers of the guides; each page is made when it is first asked for, and then kept."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url
        self._made: dict[str, bytes] = {}

    def actions(self) -> list[Action]:
        """Where they are."""
        return [
            Action("GET", "/docs/style.css", None, self.style),
            Action("GET", "/docs/{id}", None, self.read),
        ]

    async def style(self, call: Call) -> Answer | Refusal:
        """How they look, and the reference with them."""
        return publishing.file(call, self._style, _CSS)

    async def read(self, call: Call) -> Answer | Refusal:
        """A page, or a file that one links to."""
        name = call.name()
        if name in self._pages:
            return publishing.page(call, self._page(name))
        file = self._files.get(name)
        if file is None:
            return self._missing(call, name)
        media_type = JSON if name == _VECTORS else _TEXT
        return publishing.file(call, file.read_bytes(), media_type)

    def _missing(self, call: Call, name: str) -> Answer | Refusal:
        if not takes_pages(call.request.scope):
            return self._led_back(not_found("page", name))
        template = templates.environment("service.api").get_template("missing.html")
        shown = template.render(root="../", name="", missing=name, groups=self._groups)
        return publishing.missing(shown.encode("utf-8", "replace"))

    def _led_back(self, refusal: Refusal) -> Refusal:
        """Why there is no such page, and where to find those that there are."""
        url = self._public_url
        where = (
            f"The guides are listed at {url}/docs/{INDEX}, and what programs ask for is described "
            f"at {url}/openapi.json."
        )
        return replace(refusal, detail=f"{refusal.detail} {where}")

    @cached_property
    def _style(self) -> bytes:
        return resources.files("service.api").joinpath("templates", "style.css").read_bytes()

    @cached_property
    def _pages(self) -> dict[str, Traversable]:
        found = (each for each in _folder().iterdir() if each.name.endswith(_MARKDOWN))
        return {each.name.removesuffix(_MARKDOWN): each for each in found}

    @cached_property
    def _files(self) -> dict[str, Traversable]:
        above = resources.files("service") / "docs"
        return {_VECTORS: _folder() / _VECTORS, **{name: above / name for name in _EXAMPLES}}

    @cached_property
    def _groups(self) -> list[Group]:
        return [
            Group(title, [Entry(address(link.target), link.words) for link in links])
            for title, links in markdown.lists(self._pages[INDEX].read_text("utf-8"))
        ]

    def _page(self, name: str) -> bytes:
        if name not in self._made:
            self._made[name] = self._render(name)
        return self._made[name]

    def _render(self, name: str) -> bytes:
        entries = [entry for group in self._groups for entry in group.entries]
        names = [INDEX, *(entry.name for entry in entries)]
        template = templates.environment("service.api").get_template("guide.html")
        shown = template.render(
            root="../",
            name=name,
            page=markdown.page(self._pages[name].read_text("utf-8"), address),
            groups=self._groups,
            following=dict(zip(names, entries, strict=False)).get(name),
        )
        return shown.replace(_HERE, escape(self._public_url)).encode()


def _folder() -> Traversable:
    return resources.files("service") / "docs" / "pages"


def address(target: str) -> str:
    """Where a link of the Markdown leads, seen from a page that is served."""
    if target.startswith(_HERE):
        return f"..{target.removeprefix(_HERE)}"
    if "://" in target or target.startswith("#"):
        return target
    file, mark, anchor = target.rpartition("/")[2].partition("#")
    return f"{file.removesuffix(_MARKDOWN)}{mark}{anchor}"
