"""Pages and files that anybody may read: kept by who reads them, and asked about each time."""

from typing import Final

from service.web import etags
from service.web.answers import Answer
from service.web.calls import Call

_NOWHERE: Final = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
#: A page needs its style sheet and nothing else, from nowhere else.
_POLICY: Final = (
    "content-security-policy",
    f"default-src 'none'; style-src 'self'; {_NOWHERE}",
)
_NO_SNIFFING: Final = ("x-content-type-options", "nosniff")
_HEADERS: Final = (("cache-control", "public, no-cache"), _NO_SNIFFING)
_HTML: Final = "text/html; charset=utf-8"


def page(call: Call, body: bytes) -> Answer:
    """A page for people."""
    answer = Answer(200, body, media_type=_HTML)
    return etags.conditional(call.request, answer, *_HEADERS, _POLICY)


def missing(body: bytes) -> Answer:
    """A page for people about one that is not there; programs are told otherwise."""
    headers = (("cache-control", "no-store"), ("vary", "accept"), _NO_SNIFFING, _POLICY)
    return Answer(404, body, headers, _HTML)


def file(call: Call, body: bytes, media_type: str) -> Answer:
    """Anything else."""
    answer = Answer(200, body, media_type=media_type)
    return etags.conditional(call.request, answer, *_HEADERS)
