"""Operations judged as they were remembered, and what others did with them meanwhile."""

import asyncio
import itertools
from typing import Any

import asyncpg
import pytest

from service.domain.errors import Refusal
from service.domain.operation import Operation, Status, changed
from service.ports import AcceptRequest
from service.store import schema
from service.store.planning import Recalled
from tests.support.databases import Place
from tests.support.held import Held, started
from tests.support.messages import Messages
from tests.support.world import World, event, kept

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(url: str) -> Place:
    """What is shown here needs a database that can be shared."""
    return url


@pytest.fixture
async def warm(world: World, other: World) -> None:
    """Two processes that know of the tenant's subscriptions: there are none."""
    for each in (world, other):
        await each.posted(event("warm"))


@pytest.mark.usefixtures("warm")
async def test_what_others_log_meanwhile_has_numbers_of_its_own(world: World, other: World) -> None:
    names = ["op", "else"]
    for each in (world, world, other, world, other, other, world):
        for name in names:
            await each.posted(event(name))
        await each.posted(*(event(name) for name in names))

    for name in names:
        log = await world.rows(schema.events, operation_id=name)
        assert sorted(row["sequence"] for row in log) == list(range(1, 15))
        assert (await world.operation(name)).sequence == 14
    positions = sorted(row["feed_position"] for row in await world.rows(schema.events))
    assert positions == list(range(1, len(positions) + 1))


@pytest.mark.usefixtures("warm")
async def test_what_others_said_of_an_operation_stays(world: World, other: World) -> None:
    await world.posted(event("op", "STARTED"))
    await other.described(timeout_ms=60_000, type="report")

    (made,) = await world.posted(event("op"))

    assert made.sequence == 2
    known = await world.operation()
    assert (known.described, known.type, known.timeout_ms) == (True, "report", 60_000)
    assert known.silent_at == world.clock.now() + 60_000


@pytest.mark.usefixtures("warm")
async def test_an_operation_that_ended_elsewhere_has_ended(world: World, other: World) -> None:
    await world.posted(event("op", "STARTED"))
    await other.posted(event("op", "COMPLETED"))

    (refused,) = await world.post(event("op"))

    assert isinstance(refused, Refusal)
    assert len(await world.rows(schema.events, operation_id="op")) == 2


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("wanted", ["report", "else"])  # it would refuse the other as remembered
async def test_an_operation_that_is_gone_is_begun_anew(world: World, wanted: str) -> None:
    await world.posted(event("op", operation_type="report"))
    await world.sql("DELETE FROM operations WHERE id = 'op'")

    (made,) = await world.posted(event("op", operation_type=wanted))

    assert made.sequence == 1
    assert (await world.operation()).type == wanted


@pytest.mark.usefixtures("warm")
async def test_an_id_that_is_there_is_a_duplicate_whoever_logged_it(
    world: World, other: World
) -> None:
    await world.posted(event("op", id="own"))
    await other.posted(event("op", id="others"))

    answers = [await world.posted(event("op", id=each)) for each in ("own", "others")]

    assert [each.duplicate for (each,) in answers] == [True, True]
    assert len(await world.rows(schema.events, operation_id="op")) == 2
    # two of them in one group
    first, second = await world.posted(event("op", id="new"), event("op", id="new"))
    assert (first.duplicate, second.duplicate) == (False, True)


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the server said of statements that failed, by its name."""
    fetch, failed = asyncpg.Connection.fetch, list[str]()

    async def noting(connection: Any, query: str, *args: Any, **kw: Any) -> Any:  # noqa: ANN401  as it is
        try:
            return await fetch(connection, query, *args, **kw)
        except asyncpg.PostgresError as error:
            failed.append(type(error).__name__)
            raise

    monkeypatch.setattr(asyncpg.Connection, "fetch", noting)
    return failed


#: A deadlock would be seen by the server, but only after a second, in which nobody goes on.
DEADLOCK = asyncpg.DeadlockDetectedError.__name__
HOLD = "SELECT 1 FROM tenants WHERE id = 'default' FOR UPDATE"


@pytest.mark.usefixtures("warm")
async def test_who_does_not_know_an_operation_waits_for_nobody_who_waits_for_him(
    world: World, other: World, failed: list[str]
) -> None:
    await world.posted(event("op", "STARTED"))
    async with Held(world, HOLD):
        stranger = await started(world, other.posted(event("op")))
        first = await started(world, world.posted(event("op")))
    answers = await asyncio.gather(stranger, first)

    assert sorted(made.sequence for (made,) in answers) == [2, 3]
    assert DEADLOCK not in failed


@pytest.mark.usefixtures("warm")
async def test_nor_does_who_looked_before_it_was_there(
    world: World, other: World, failed: list[str]
) -> None:
    async with Held(world, HOLD):
        request = AcceptRequest("default", [event("op")], kept())  # so it is accepted in turn
        stranger = await started(world, other.accept.accept([request]))
        await world.described(type="report")
        first = await started(world, world.posted(event("op")))
    await asyncio.gather(stranger, first)

    assert (await world.operation()).sequence == 2
    assert DEADLOCK not in failed


@pytest.mark.usefixtures("warm")
async def test_of_what_is_remembered_and_of_what_is_new_nothing_is_looked_up(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.posted(event("op", "STARTED"))
    messages = Messages(monkeypatch)

    async def said() -> list[str]:
        messages.take()
        await world.accept.accept(
            [AcceptRequest("default", [event(name)]) for name in ("op", f"n{next(number)}")]
        )
        return messages.take()

    number = itertools.count()
    assert [await said(), await said()] == [["WITH"], ["WITH"]]
    await other.posted(event("op"))
    # it is otherwise, so it is looked up, then and the next time
    assert [await said(), await said()] == [["WITH", "SELECT", "WITH"], ["SELECT", "WITH"]]
    assert await said() == ["WITH"]


@pytest.mark.usefixtures("warm")
async def test_an_operation_that_was_just_described_is_not_looked_up_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.described(type="report", timeout_ms=60_000)
    messages = Messages(monkeypatch)

    (made,) = await world.posted(event("op", "STARTED"))

    assert messages.take() == ["WITH"]
    assert made.sequence == 1
    known = await world.operation()
    assert (known.type, known.silent_at) == ("report", world.clock.now() + 60_000)


async def test_what_is_remembered_is_bounded() -> None:
    recalled = Recalled()

    async def known(*names: str) -> list[str]:
        group = [AcceptRequest("t", [event(name) for name in names])]
        found = await recalled.recall(None, group)  # type: ignore[arg-type]  # it asks nobody
        return sorted(name for _, name in found.operations)

    def operation(name: str) -> Operation:
        return Operation(key=1, tenant_id="t", id=name, created_at=0, updated_at=0)

    heavy = [
        changed(operation(f"heavy {member}"), **{member: b"x" * 3_000})
        for member in ("progress", "result", "error", "warnings", "metadata")
    ]
    recalled.note([operation("light"), *heavy])
    recalled.note([changed(operation("ended"), status=Status.COMPLETED)])
    assert await known("light", *(each.id for each in heavy), "ended", "none") == ["light"]
    recalled.note([changed(operation("light"), status=Status.FAILED)])
    assert await known("light") == []

    recalled.note([operation("first"), operation("second")])
    recalled.note([operation("first")])
    recalled.note([operation(f"n{number}") for number in range(4_095)])
    assert await known("first", "second", "n0", "n4094") == ["first", "n0", "n4094"]
