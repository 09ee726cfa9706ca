"""Host names outside ASCII."""

import idna


def to_ascii(host: str) -> str | None:
    """The ``xn--`` form (IDNA 2008, after UTS 46 mapping), or ``None`` if the name has none."""
    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError:  # idna.IDNAError is one
        return None
