"""Stream tickets: when they open, and when they do not any more."""

import pytest
from sqlalchemy import update

from service.domain.errors import Refusal
from service.domain.ids import KeyMaker
from service.domain.tickets import FIRST_USE, LIFETIME
from service.ports import Principal, Replayed, Ticket
from service.store import schema
from service.store.database import Database, Tx
from service.store.managing import ManageStore
from service.store.tickets import TicketStore, forget_old
from tests.store.conftest import Rows
from tests.support.clock import FakeClock
from tests.support.world import kept

pytestmark = pytest.mark.anyio

WHO = Principal("key_1", "default", frozenset({"admin"}))


@pytest.fixture
async def tickets(database: Database, manage: ManageStore, keys: KeyMaker) -> TicketStore:
    await manage.ensure_key("key_1", "bootstrap", b"digest", ["admin"])
    return TicketStore(database, keys)


@pytest.fixture
async def issued(tickets: TicketStore, clock: FakeClock) -> Ticket:
    ticket = Ticket(WHO, "op_1", clock.now())
    assert await tickets.issue(b"ticket", ticket) == ticket
    return ticket


async def redeemed(tickets: TicketStore, digest: bytes = b"ticket") -> Ticket | None:
    return await tickets.redeem(digest)


async def test_a_ticket_opens_for_its_key_without_the_keys_scopes(
    tickets: TicketStore, issued: Ticket
) -> None:
    found = await redeemed(tickets)

    assert found == Ticket(Principal("key_1", "default", frozenset()), "op_1", issued.created_at)
    assert await redeemed(tickets, b"another") is None


@pytest.mark.usefixtures("issued")
async def test_it_must_be_used_soon_and_is_then_good_for_reconnects(
    tickets: TicketStore, clock: FakeClock
) -> None:
    clock.advance(FIRST_USE - 1)
    assert await redeemed(tickets) is not None
    clock.advance(LIFETIME - FIRST_USE)
    assert await redeemed(tickets) is not None
    clock.advance(1)
    assert await redeemed(tickets) is None


@pytest.mark.usefixtures("issued")
async def test_one_that_was_not_used_in_time_never_opens(
    tickets: TicketStore, clock: FakeClock
) -> None:
    clock.advance(FIRST_USE)
    assert await redeemed(tickets) is None


@pytest.mark.usefixtures("issued")
@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
async def test_it_dies_with_its_key(
    tickets: TicketStore, database: Database, clock: FakeClock, column: str
) -> None:
    assert await redeemed(tickets) is not None

    async def end(tx: Tx) -> None:
        await tx.change(update(schema.api_keys).values({column: clock.now()}))

    await database.write(end)
    assert await redeemed(tickets) is None


async def test_the_same_request_makes_one_ticket(tickets: TicketStore, rows: Rows) -> None:
    first = Ticket(WHO, None, 1)
    assert await tickets.issue(b"a", first, kept()) == first
    assert isinstance(await tickets.issue(b"b", first, kept()), Replayed)
    assert isinstance(await tickets.issue(b"c", first, kept(fingerprint=b"x")), Refusal)

    assert [row["hash"] for row in await rows(schema.stream_tickets)] == [b"a"]


@pytest.mark.usefixtures("issued")
async def test_old_tickets_are_forgotten(
    tickets: TicketStore, database: Database, clock: FakeClock, rows: Rows
) -> None:
    clock.advance(1)
    await tickets.issue(b"younger", Ticket(WHO, None, clock.now()))
    clock.advance(LIFETIME - 1)

    assert await database.write(forget_old) == 1
    assert await database.write(forget_old) == 0
    assert [row["hash"] for row in await rows(schema.stream_tickets)] == [b"younger"]
