"""URLs as they may be told: without what may be secret in them."""

from typing import Final
from urllib.parse import urlsplit

#: What stands in the place of a query.
_QUERY: Final = "?…"


def told(url: str, query: str = _QUERY) -> str:
    """The URL without a name, a password, or the values of its query."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}{query if parts.query else ''}"
