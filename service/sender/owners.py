"""Whose a host is: what is limited, is limited for names of one owner together."""

from typing import Final

#: Labels below which registries of countries (two letters) let others register: ``co.uk``.
#: Hosting companies' names (``amazonaws.com``) count as theirs: their customers have no name
#: servers below them, and so cannot make one hang. The list of all public suffixes changes
#: daily and is larger than this whole service.
_REGISTRIES: Final = frozenset(
    (
        *("ac", "co", "com", "edu", "firm", "gen", "go", "gob", "gouv", "gov", "id", "ind", "info"),
        *("ltd", "me", "mil", "ne", "net", "nom", "or", "org", "plc", "sch", "web"),
    )
)
_COUNTRY: Final = 2


def owner_of(host: str) -> str:
    """The domain that somebody registered to have ``host`` in it; an address is its own."""
    labels = host.rsplit(".", 3)
    if labels[-1].isdigit() or ":" in host:
        return host
    is_registry = len(labels[-1]) == _COUNTRY and not _REGISTRIES.isdisjoint(labels[-2:-1])
    return ".".join(labels[-3:] if is_registry else labels[-2:])
