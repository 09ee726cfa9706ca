"""Operations written so that the statement itself keeps to the table of moves.

What is written was judged on what was read before. The statement looks once more: a row that is no
longer as it was read, or whose move is not in :data:`~service.domain.operation.MOVES`, is not
touched, and the whole group is judged again. So a second writer, whoever it is, makes no second
end.
"""

from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

from service.domain.operation import MOVES, Operation, Status
from service.ports import StoreUnavailableError
from service.store.database import Tx
from service.store.rows import OPERATION_COLUMNS, operation_row
from service.store.schema import operations
from service.store.statements import Change, Insert, Many, Row, Write

T = TypeVar("T")

#: An operation as it was read (``None``: it is new), and as it shall be.
Move = tuple[Operation | None, Operation]

#: How often a group is judged before it is given up.
_TRIES: Final = 5
#: What an event changes, the status first.
_CHANGED: Final = (
    "status",
    "type",
    "sequence",
    "updated_at",
    "started_at",
    "ended_at",
    "progress",
    "result",
    "error",
    "warnings",
    "estimated_at",
    "silent_at",
    "expires_at",
)
#: Before them: the key, and the status, the sequence and whether it was described, as read.
_FIRST: Final = 5
_STATUS: Final = f"v.column{_FIRST}"
#: What is written of them as it is: all but the status, which is a word of the domain.
_rest: Final[Callable[[Operation], tuple[Any, ...]]] = attrgetter(*_CHANGED[1:])
#: What is written together with moves counts them by this name.
MOVED: Final = "moved"
_UNLESS_THERE: Final = "ON CONFLICT (tenant_id, id) DO NOTHING RETURNING key"
#: What is seen to be there is left out before it is tried, in a database that is shared: else who
#: writes it just then would be waited for, and may wait for a tenant that was locked before. All
#: rows of operations begin with key, tenant and id.
UNSEEN: Final = (
    "NOT EXISTS (SELECT FROM operations o WHERE o.tenant_id = v.column2 AND o.id = v.column3)"
)


def _along_the_table() -> str:
    """From each status that is no end: the moves of the table, or to stay."""
    return " OR ".join(
        f"(operations.status = '{before}' AND {_STATUS} IN ({_words({before, *moves})}))"
        for before, moves in MOVES.items()
        if moves
    )


def _words(statuses: set[Status]) -> str:
    return ", ".join(f"'{status}'" for status in sorted(statuses))


def _update() -> Many:
    """One UPDATE of many rows, each only from where it was read, along the table."""
    changes = ", ".join(
        f'"{name}" = v.column{place}' for place, name in enumerate(_CHANGED, _FIRST)
    )
    read = (
        operations.c.key,
        operations.c.status,
        operations.c.sequence,
        operations.c.described,
    )
    return Many(
        f"UPDATE operations SET {changes} FROM {{rows}} "
        "WHERE operations.key = v.column1 AND operations.status = v.column2 "
        "AND operations.sequence = v.column3 AND operations.described = v.column4 "
        f"AND ({_along_the_table()}) "
        "RETURNING operations.key",
        *read,
        *(operations.c[name] for name in _CHANGED),
    )


_UPDATE: Final = _update()


#: What an event says of an operation that it begins; the rest only a description does.
_BEGUN: Final = ("key", "tenant_id", "id", "created_at", *_CHANGED)


def begin(condition: str) -> Many:
    """Inserts operations that events begin, by the rows of :func:`begun`, under a condition."""
    return Many(
        f"INSERT INTO operations ({', '.join(_BEGUN)}, described) SELECT *, 0 FROM {{rows}} "
        f"{condition} {_UNLESS_THERE}",
        *(operations.c[name] for name in _BEGUN),
    )


class MovedError(Exception):
    """An operation moved after it was read; nothing was kept."""


async def judged_again(work: Callable[[], Awaitable[T]]) -> T:
    """Do ``work``, which reads, judges and writes; once more when what it had read was moved.

    Raises:
        StoreUnavailableError: it was moved again and again.
    """
    for _ in range(_TRIES):
        try:
            return await work()
        except MovedError:
            continue
    raise StoreUnavailableError("Operations moved each time that they were to be written.")


async def write(tx: Tx, moves: Sequence[Move], beside: Sequence[Write] = ()) -> list[int]:
    """Write operations, each as it shall be, and what is to be written beside them.

    Returns of the latter what :meth:`~service.store.database.Tx.together` does.

    Raises:
        MovedError: one of them is not as it was read.
    """
    rows = [operation_row(each) for each in _made(moves)]
    conflict = f"WHERE {UNSEEN} {_UNLESS_THERE}" if tx.is_shared else _UNLESS_THERE
    new, moved = Insert(operations, OPERATION_COLUMNS, rows, conflict), moved_by(moves)
    touched = await tx.together(new, moved, *beside)
    if touched[:2] != [len(new.rows), len(moved.rows)]:
        raise MovedError
    return touched[2:]


def moved_by(moves: Sequence[Move]) -> Change:
    """What is to be written of operations that were there before, by their names.

    Each of its rows gives one, unless an operation is not as it was read.
    """
    moved = [
        (before, after)
        for before, after in moves
        if before is not None and before.sequence != after.sequence
    ]
    return Change(_UPDATE, [_row(*each) for each in sorted(moved, key=_name)], name=MOVED)


def begun(moves: Sequence[Move]) -> list[Row]:
    """Operations that events begin, as :func:`begin` takes them, by their names."""
    return [
        (each.key, each.tenant_id, each.id, each.created_at, str(each.status), *_rest(each))
        for each in _made(moves)
    ]


async def mark_retried(tx: Tx, failed: Operation) -> None:
    """Note which operation retries this one.

    Raises:
        MovedError: it has not FAILED, or another one retries it.
    """
    text = (
        "UPDATE operations SET retried_by = ? "
        "WHERE key = ? AND status = ? AND retried_by IS NULL RETURNING key"
    )
    if len(await tx.sql(text, (failed.retried_by, failed.key, Status.FAILED.value))) != 1:
        raise MovedError


def _made(moves: Sequence[Move]) -> list[Operation]:
    return [after for _, after in sorted((m for m in moves if m[0] is None), key=_name)]


def _name(move: Move) -> tuple[str, str]:
    """What operations are locked in the order of."""
    return move[1].tenant_id, move[1].id


def _row(before: Operation, after: Operation) -> Row:
    read = (before.key, str(before.status), before.sequence, int(before.described))
    return (*read, str(after.status), *_rest(after))
