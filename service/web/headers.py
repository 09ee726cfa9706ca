"""The headers of a request, by name: read many times, and put in order once.

Every request is asked for eight of them, so to look one up makes no call that is not needed.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from starlette.types import Scope

#: Where a request keeps them: as they were given, by name, and whether no name came twice.
_KEPT: Final = "ringback.headers"

_Given = Sequence[tuple[bytes, bytes]]
_Kept = tuple[_Given, Mapping[bytes, bytes], bool]


def values(scope: Scope, name: bytes) -> list[str]:
    """What every header of that name (lower case) holds, in their order."""
    kept: _Kept | None = scope.get(_KEPT)
    if kept is None or kept[0] is not scope["headers"]:
        kept = _keep(scope)
    value = kept[1].get(name)
    if value is None:
        return []
    if kept[2]:
        return [value.decode("latin-1")]
    return [each.decode("latin-1") for known, each in kept[0] if known == name]


def first(scope: Scope, name: bytes) -> str:
    """What the first header of that name (lower case) holds, or nothing."""
    kept: _Kept | None = scope.get(_KEPT)
    if kept is None or kept[0] is not scope["headers"]:
        kept = _keep(scope)
    value = kept[1].get(name)
    return "" if value is None else value.decode("latin-1")


def has_any(scope: Scope, names: AbstractSet[bytes]) -> bool:
    """Whether there is a header of one of these names (lower case)."""
    return not names.isdisjoint(_keep(scope)[1])


def _keep(scope: Scope) -> _Kept:
    """Put them in order; a copy of a scope may have headers of its own."""
    given: _Given = scope["headers"]
    by_name = dict(given)
    is_plain = len(by_name) == len(given)
    if not is_plain:
        by_name = dict(reversed(given))  # the first of a name counts
    scope[_KEPT] = kept = given, by_name, is_plain
    return kept
