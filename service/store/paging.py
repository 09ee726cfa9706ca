"""Pages by place: one row more than asked for is read, which tells whether there is a next page."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from service.ports import Page

T = TypeVar("T")


def page_of(found: Sequence[T], limit: int, place: Callable[[T], tuple[int, ...]]) -> Page[T]:
    """The first ``limit`` of what was found, and the place of the last of them if there is more."""
    items = found[:limit]
    return Page(items, place(items[-1]) if items and len(found) > limit else None)
