"""URLs as they may be told where many read along: in lists, in traces.

Beside names, passwords and queries, many receivers have what is secret in the path itself: whoever
knows ``/services/T0123/B0123/<24 characters>`` may post there. No rule tells such a token from a
name for sure. This one leaves out what looks drawn by chance, and now and then a name that does;
what is short, has no digits and one case, or nothing but digits, it tells.
"""

import re
from typing import Final
from urllib.parse import urlsplit

#: What stands in the place of what is left out.
_HIDDEN: Final = "…"
#: Letters and digits that a token has at least: such as half of a UUID, or 64 bits in hexadecimal.
_LONG: Final = 16
#: Letters and digits side by side: names have that once, in a version or a year.
_MIXED: Final = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_MOST_MIXED: Final = 1
#: Where a capital follows a small letter, another word of a name begins; words are as long as this.
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD: Final = 8


def told(url: str, hidden: str = _HIDDEN) -> str:
    """The URL without a name, a password, its query, and what looks like a token in its path."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    path = "/".join(hidden if _is_token(each) else each for each in parts.path.split("/"))
    return f"{parts.scheme}://{host}{port}{path}{f'?{hidden}' if parts.query else ''}"


def _is_token(segment: str) -> bool:
    """Whether a part of a path looks drawn by chance."""
    length = sum(map(str.isalnum, segment))
    if length < _LONG:
        return False
    is_mixed = len(_MIXED.findall(segment)) > _MOST_MIXED
    return is_mixed or len(_HUMP.findall(segment)) * _WORD >= length
