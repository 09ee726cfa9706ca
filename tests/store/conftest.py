"""A migrated database in a temporary file, and rows for it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert, select

from service.domain.ids import KeyMaker
from service.domain.subscription import Subscription, changed
from service.ports import NewSubscription
from service.store import schema
from service.store.database import Database, Tx
from service.store.managing import ManageStore
from service.store.reading import ReadStore
from tests.support.clock import FakeClock
from tests.support.databases import Place, database_at
from tests.support.postgres import Databases
from tests.support.world import World, migrated_file, opened_world

Put = Callable[..., Awaitable[None]]
Rows = Callable[[Table], Awaitable[list[dict[str, Any]]]]
MakeSubscription = Callable[..., Awaitable[Subscription]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def keys() -> KeyMaker:
    return KeyMaker()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ringback.db"
    path.write_bytes(migrated_file())
    return path


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    with databases.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    """Where the store is: every test that does not say otherwise runs on both."""
    found: Place = request.getfixturevalue("path" if request.param == "sqlite" else "url")
    return found


@pytest.fixture
async def database(place: Place, clock: FakeClock) -> AsyncIterator[Database]:
    database = database_at(place, clock)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def world(place: Place, clock: FakeClock) -> AsyncIterator[World]:
    """The whole store, in place of the single parts that the other fixtures are."""
    async with opened_world(place, clock) as world:
        yield world


@pytest.fixture
async def other(world: World, clock: FakeClock) -> AsyncIterator[World]:
    """Another process on the same database."""
    async with opened_world(world.place, clock) as other:
        yield other


@pytest.fixture
def manage(database: Database, keys: KeyMaker) -> ManageStore:
    return ManageStore(database, keys)


@pytest.fixture
def read(database: Database) -> ReadStore:
    return ReadStore(database)


@pytest.fixture
def put(database: Database) -> Put:
    """Insert a row, with a plain value for each column that must have one and is not given."""

    async def put(table: Table, **given: object) -> None:
        values = {
            column.name: _PLAIN[type(column.type)]
            for column in table.columns
            if not column.nullable and column.name != "no"
        }

        async def job(tx: Tx) -> None:
            await tx.change(insert(table).values(values | given))

        await database.write(job)

    return put


@pytest.fixture
def rows(database: Database) -> Rows:
    """All rows of a table, by primary key."""

    async def rows(table: Table) -> list[dict[str, Any]]:
        async with database.read() as tx:
            return await tx.query(select(table).order_by(*table.primary_key.columns))

    return rows


@pytest.fixture
def subscribe(manage: ManageStore) -> MakeSubscription:
    """Make a subscription the way the service does."""

    async def subscribe(
        name: str, tenant_id: str = "default", secret: bytes = b"sealed", **members: object
    ) -> Subscription:
        plain = Subscription(
            no=0,
            id=name,
            tenant_id=tenant_id,
            url="https://example.com",
            created_at=0,
            updated_at=0,
        )
        wanted = changed(plain, **members)
        made = await manage.create_subscription(NewSubscription(wanted, secret), "key_test")
        assert isinstance(made, Subscription)
        return made

    return subscribe


_PLAIN: dict[type, Any] = {
    type(column.type): plain
    for column, plain in (
        (schema.events.c.id, ""),
        (schema.events.c.body, b"{}"),
        (schema.events.c.key, 0),
        (schema.delivery_queue.c.step, 0),
    )
}
