"""The headers of a request, by name: read many times, and put in order once."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from starlette.types import Scope

#: Where a request keeps them: as they were given, and by name.
_KEPT: Final = "ringback.headers"

_Given = Sequence[tuple[bytes, bytes]]
_Kept = tuple[_Given, Mapping[bytes, bytes]]


def values(scope: Scope, name: bytes) -> list[str]:
    """What every header of that name (lower case) holds, in their order."""
    given, by_name = _kept(scope)
    value = by_name.get(name)
    if value is None:
        return []
    if len(by_name) == len(given):
        return [value.decode("latin-1")]
    return [each.decode("latin-1") for known, each in given if known == name]


def first(scope: Scope, name: bytes) -> str:
    """What the first header of that name (lower case) holds, or nothing."""
    given, by_name = _kept(scope)
    value = by_name.get(name)
    if value is None:
        return ""
    return value.decode("latin-1") if len(by_name) == len(given) else values(scope, name)[0]


def has_any(scope: Scope, names: AbstractSet[bytes]) -> bool:
    """Whether there is a header of one of these names (lower case)."""
    return not names.isdisjoint(_kept(scope)[1])


def _kept(scope: Scope) -> _Kept:
    given: _Given = scope["headers"]
    kept: _Kept | None = scope.get(_KEPT)
    if kept is None or kept[0] is not given:  # a copy of a scope may have headers of its own
        kept = scope[_KEPT] = given, dict(given)
    return kept
