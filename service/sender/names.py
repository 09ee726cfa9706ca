"""Host names outside ASCII."""

import unicodedata

import idna


def to_ascii(host: str) -> str | None:
    """The ``xn--`` form (IDNA 2008, after UTS 46 mapping), or ``None`` if the name has none.

    Mapping also leaves characters out and makes dots of others. A name that it changes in more than
    case is refused: people would read one name and machines another.
    """
    try:
        name = idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
        same = idna.decode(name) == unicodedata.normalize("NFC", host.lower())
    except UnicodeError:  # idna.IDNAError is one
        return None
    return name if same else None
