"""Who asks: a person with a browser, or a program."""

from starlette.datastructures import Headers
from starlette.types import Scope


def takes_pages(scope: Scope) -> bool:
    """Whether who asks names pages among what he takes, as browsers do and programs do not."""
    return "text/html" in Headers(scope=scope).get("accept", "")
