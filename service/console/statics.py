"""Style sheet, scripts: the files that pages name, and no others."""

from functools import cache
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.web import answers, etags
from service.web.answers import Answer

_JS: Final = "text/javascript; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_CSS: Final = "text/css; charset=utf-8"
_TYPES: Final = {
    "style.css": _CSS,
    "console.js": _JS,
    "charts.js": _JS,
    "enter.js": _JS,
    "vendor/htmx-4.0.1.min.js": _JS,
    "vendor/htmx-LICENSE.txt": _TEXT,
    "vendor/uPlot-1.6.32.iife.min.js": _JS,
    "vendor/uPlot-1.6.32.min.css": _CSS,
    "vendor/uPlot-LICENSE.txt": _TEXT,
    "icon.svg": "image/svg+xml",
}
_HEADERS: Final = (
    ("cache-control", "public, no-cache"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
)


class File:
    """An ASGI application that answers with one file."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        answer = Answer(200, _content(self._name), media_type=_TYPES[self._name])
        head = request.method == "HEAD"
        await answers.send(etags.conditional(request, answer, *_HEADERS), send, head=head)


def routes(root: str) -> list[Route]:
    """One route a file."""
    return [Route(f"{root}/static/{name}", File(name), methods=["GET"]) for name in _TYPES]


@cache
def _content(name: str) -> bytes:
    return resources.files("service.console").joinpath("static", name).read_bytes()
