"""The statement that writes operations keeps to the table, whoever else writes."""

import itertools
from collections.abc import Sequence

import pytest

from service.domain.errors import RefusalKind
from service.domain.operation import MOVES, Operation, Status, changed, is_end
from service.ports import AcceptRequest, StoreUnavailableError
from service.store import moving, schema
from service.store.database import Tx
from service.store.moving import Move
from service.store.statements import Write
from tests.support.databases import ONLY_SQLITE
from tests.support.world import World, accepted, event, refused

pytestmark = pytest.mark.anyio

STATUSES = list(Status)


async def write(world: World, *moves: Move) -> None:
    async def job(tx: Tx) -> None:
        await moving.write(tx, moves)

    await world.database.write(job)


def new(world: World, name: str = "op", status: Status = Status.PENDING) -> Operation:
    now = world.clock.now()
    return Operation(
        key=world.keys.next(now),
        tenant_id="default",
        id=name,
        status=status,
        sequence=1,
        created_at=now,
        updated_at=now,
    )


def after(before: Operation, status: Status) -> Operation:
    return changed(before, status=status, sequence=before.sequence + 1)


async def test_of_two_that_end_an_operation_one_wins(world: World) -> None:
    read = new(world, status=Status.PROCESSING)
    await write(world, (None, read))

    await write(world, (read, after(read, Status.COMPLETED)))
    with pytest.raises(moving.MovedError):
        await write(world, (read, after(read, Status.FAILED)))

    assert (await world.operation()).status is Status.COMPLETED


@pytest.mark.parametrize(("before", "to"), list(itertools.product(STATUSES, STATUSES)))
async def test_the_statement_makes_no_move_that_is_not_in_the_table(
    world: World, before: Status, to: Status
) -> None:
    read = new(world, status=before)
    await write(world, (None, read))
    allowed = to in MOVES[before] or (to is before and not is_end(before))

    if allowed:
        await write(world, (read, after(read, to)))
    else:
        with pytest.raises(moving.MovedError):
            await write(world, (read, after(read, to)))

    found = await world.operation()
    assert (found.status, found.sequence) == ((to, 2) if allowed else (before, 1))


async def test_a_number_is_given_once(world: World) -> None:
    read = new(world)
    await write(world, (None, read))
    await write(world, (read, after(read, Status.PENDING)))

    with pytest.raises(moving.MovedError):
        await write(world, (read, after(read, Status.PENDING)))


async def test_of_two_that_create_an_operation_one_wins(world: World) -> None:
    await write(world, (None, new(world)))

    with pytest.raises(moving.MovedError):
        await write(world, (None, new(world)))

    assert len(await world.rows(schema.operations)) == 1


async def test_many_are_written_at_once(world: World) -> None:
    read = [new(world, f"op{n:04}") for n in range(1_001)]
    await write(world, *((None, each) for each in read))

    await write(world, *((each, after(each, Status.COMPLETED)) for each in read))

    rows = await world.rows(schema.operations)
    assert {(row["status"], row["sequence"]) for row in rows} == {("COMPLETED", 2)}
    assert [row["id"] for row in rows] == [each.id for each in read]


async def test_an_operation_is_retried_by_one_other(world: World) -> None:
    failed = new(world, status=Status.FAILED)
    await write(world, (None, failed))

    async def mark(tx: Tx, by: str) -> None:
        await moving.mark_retried(tx, changed(failed, retried_by=by))

    await world.database.write(lambda tx: mark(tx, "one"))
    with pytest.raises(moving.MovedError):
        await world.database.write(lambda tx: mark(tx, "other"))

    assert (await world.operation()).retried_by == "one"


# --- a second writer between what accept reads and what it writes


class Interloper:
    """Ends an operation each time that accept is about to write it, so often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.times = times
        self.tries = 0
        self._write = moving.write
        monkeypatch.setattr(moving, "write", self)

    async def __call__(
        self, tx: Tx, moves: Sequence[Move], beside: Sequence[Write] = ()
    ) -> list[int]:
        self.tries += 1
        if self.tries <= self.times:
            # kept, as another process's commit would be, before this one's transaction goes on
            await tx.sql("ROLLBACK")
            await tx.sql("BEGIN IMMEDIATE")
            await tx.sql(
                "UPDATE operations SET status = 'CANCELLED', sequence = sequence + 1, ended_at = 1 "
                "WHERE id = 'op' AND status = 'PROCESSING'"
            )
            await tx.sql("COMMIT")
            await tx.sql("BEGIN IMMEDIATE")
        return await self._write(tx, moves, beside)


@ONLY_SQLITE
async def test_a_group_whose_operation_moved_meanwhile_is_judged_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.posted(event("op", "STARTED"), event("other", "STARTED"))
    interloper = Interloper(monkeypatch, times=1)

    mine, theirs = await world.accept.accept(
        [
            AcceptRequest("default", [event("op", "COMPLETED", id="mine")]),
            AcceptRequest("default", [event("other", "COMPLETED", id="theirs")]),
        ]
    )

    assert interloper.tries == 2
    assert isinstance(mine.answer, list)
    assert isinstance(theirs.answer, list)
    late = refused(mine.answer[0])
    assert late.kind is RefusalKind.CONFLICT
    assert late.extra["currentStatus"] == "CANCELLED"
    assert accepted(theirs.answer[0]).status == "COMPLETED"
    ids = {row["id"] for row in await world.rows(schema.event_ids)}
    assert "theirs" in ids
    assert "mine" not in ids


async def test_a_group_is_not_judged_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.posted(event("op", "STARTED"))

    def moved(_moves: Sequence[Move]) -> None:
        raise moving.MovedError

    monkeypatch.setattr(moving, "moved_by", moved)
    with pytest.raises(StoreUnavailableError, match="each time"):
        await world.post(event("op", "COMPLETED"))
    monkeypatch.undo()
    assert len(await world.rows(schema.events)) == 1
