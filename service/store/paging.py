"""Pages by place: one row more than asked for is read, which tells whether there is a next page.

A list goes down a key, newest first. Where no index knows which rows are wanted, a page looks at a
bounded number of those on its way and then says where it came to: it may be short, even empty, and
have a next one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, literal, select, tuple_

from service.ports import Page
from service.store.database import Tx

T = TypeVar("T")
Condition = ColumnElement[bool]
Place = tuple[int, ...]

#: Rows that one page looks at for those that are wanted: where each is looked up in other tables,
#: too, they take PostgreSQL some 50 ms.
LOOKED_AT: Final = 5_000


def page_of(
    found: Sequence[T], limit: int, place: Callable[[T], Place], floor: Place | None = None
) -> Page[T]:
    """The first ``limit`` of what was found, and the place to go on behind if there is more.

    ``floor`` is how far was looked, where that was not to the end.
    """
    items = found[:limit]
    return Page(items, place(items[-1]) if items and len(found) > limit else floor)


async def floor_of(
    tx: Tx, key: Sequence[ColumnElement[Any]], along: Sequence[Condition]
) -> Place | None:
    """How far down its key a page may look at the rows ``along``; ``None``: to the end."""
    rows = await tx.query(
        select(*key)
        .where(*along)
        .order_by(*(column.desc() for column in key))
        .limit(1)
        .offset(LOOKED_AT - 1)
    )
    return tuple(rows[0].values()) if rows else None


def down_to(key: Sequence[ColumnElement[Any]], floor: Place | None) -> list[Condition]:
    """That a row is not behind the floor."""
    if floor is None:
        return []
    # the first column by itself, too: that is what an index in which others lead can take
    first = key[0] >= floor[0]
    return [first, tuple_(*key) >= tuple_(*map(literal, floor))] if key[1:] else [first]
