"""Commits whose answer is lost: what became of them is found out, or nobody claims to know."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import asyncpg
import pytest

from service.domain.api_keys import ADMIN_KEY_ID, ApiKey
from service.domain.delivery import Trigger
from service.domain.errors import Refusal
from service.domain.tenant import Tenant
from service.lab.servers import Postgres
from service.lab.torture.proxy import FaultProxy, Harm
from service.ports import (
    AcceptRequest,
    NewText,
    Principal,
    Rotation,
    StoreUnavailableError,
    Ticket,
    UnknownCommitError,
)
from service.store import schema
from service.store.api_keys import KeyStore
from service.store.database import Tx
from service.store.postgres import connections, doubt, faults, migrating
from service.store.tenancy import TenantStore
from service.store.tickets import TicketStore
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.faults import NAME, fault_proxy, postgres_on_a_port
from tests.support.world import World, event, opened_world, ref_of

pytestmark = pytest.mark.anyio

ADMIN = Principal(ADMIN_KEY_ID, "default", frozenset())


@pytest.fixture
def place(url: str) -> Place:
    """What is shown here needs a database that is asked over a connection."""
    return url


class LostCommits:
    """Loses the answer to a commit: the first time, and the commit with it where it is not sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool) -> None:
        self.lost = 0
        execute = asyncpg.Connection.execute

        async def cut(connection: Any, query: str, *args: Any, **kw: Any) -> str:  # noqa: ANN401  as it is
            if query == "COMMIT" and not self.lost:
                self.lost += 1
                if is_sent:
                    await execute(connection, query)
                connection.terminate()
                raise asyncpg.ConnectionDoesNotExistError("connection was closed")
            return str(await execute(connection, query, *args, **kw))

        monkeypatch.setattr(asyncpg.Connection, "execute", cut)


@pytest.mark.parametrize("is_sent", [True, False])
async def test_events_whose_commit_was_not_answered_are_there_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    lane = await world.subscribe()
    commits = LostCommits(monkeypatch, is_sent=is_sent)

    (made,) = await world.posted(event("op", "STARTED"))

    assert commits.lost == 1
    assert (made.sequence, made.duplicate) == (1, False)
    assert [row["id"] for row in await world.log()] == [made.id]
    assert len(await world.claim(lane.no)) == 1


@pytest.mark.parametrize("is_sent", [True, False])
async def test_a_claim_whose_commit_was_not_answered_is_one(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    LostCommits(monkeypatch, is_sent=is_sent)

    claimed = await world.claim(lane.no)

    assert [each.attempt for each in claimed] == [1, 1, 1]
    assert (await world.settle(claimed)).late == 0


class LostStatement:
    """Loses the answer to a statement that is a transaction by itself, and the statement with it.

    Or only the answer, where it ``is_sent``.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool) -> None:
        self.lost = 0
        fetch = asyncpg.Connection.fetch

        async def cut(connection: Any, query: str, *args: Any, **kw: Any) -> list[Any]:  # noqa: ANN401  as it is
            is_alone = query.startswith("WITH ") and not connection.is_in_transaction()
            if is_alone and not self.lost:
                self.lost += 1
                if is_sent:
                    await fetch(connection, query, *args)
                connection.terminate()
                raise asyncpg.ConnectionDoesNotExistError("connection was closed")
            return list(await fetch(connection, query, *args, **kw))

        monkeypatch.setattr(asyncpg.Connection, "fetch", cut)


@pytest.mark.parametrize("is_sent", [True, False])
async def test_events_of_one_statement_that_was_not_answered_are_there_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    lane = await world.subscribe()
    await world.posted(event("op", "STARTED"))
    statement = LostStatement(monkeypatch, is_sent=is_sent)

    (made,) = await world.posted(event("op"))

    assert statement.lost == 1
    assert (made.sequence, made.duplicate) == (2, False)
    assert [row["id"] for row in await world.log()][1:] == [made.id]
    assert len(await world.claim(lane.no)) == 2


@pytest.mark.parametrize("is_sent", [True, False])
async def test_a_claim_of_one_statement_that_was_not_answered_is_one(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    statement = LostStatement(monkeypatch, is_sent=is_sent)

    claimed = await world.claim(lane.no)

    assert statement.lost == 1
    assert [each.attempt for each in claimed] == [1, 1, 1]
    assert len({each.body for each in claimed}) == 3
    assert (await world.settle(claimed)).late == 0


@pytest.mark.parametrize("is_sent", [True, False])
async def test_results_of_one_statement_that_was_not_answered_are_kept_once(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    claimed = await world.claim(lane.no)
    statement = LostStatement(monkeypatch, is_sent=is_sent)

    settled = await world.settle(claimed)

    assert (statement.lost, settled.late) == (1, 0)
    assert [row["status"] for row in await world.rows(schema.deliveries)] == ["delivered"] * 3
    assert len(await world.rows(schema.attempts)) == 3
    assert await world.rows(schema.delivery_queue) == []


async def test_results_of_which_one_was_known_before_are_not_said_to_be_kept_for_that(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    claimed = await world.claim(lane.no)
    await world.settle([min(claimed, key=lambda each: each.ref)])
    statement = LostStatement(monkeypatch, is_sent=False)

    settled = await world.settle(claimed)

    assert (statement.lost, settled.late) == (1, 1)
    assert await world.rows(schema.delivery_queue) == []


async def test_what_became_of_a_statement_is_not_asked_on_connections_as_lost_as_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    claimed = await world.claim(lane.no)
    execute = asyncpg.Connection.execute
    asked: set[Any] = set()

    async def unheard(connection: Any, query: str, *args: Any, **kw: Any) -> str:  # noqa: ANN401  as it is
        if not statement.lost:
            asked.add(connection)
        elif connection in asked:
            await asyncio.sleep(3_600)
        return str(await execute(connection, query, *args, **kw))

    monkeypatch.setattr(asyncpg.Connection, "execute", unheard)
    monkeypatch.setattr(connections, "_HEARD", 0.0)  # nothing was heard of the others for long
    statement = LostStatement(monkeypatch, is_sent=True)
    await world.rows(schema.deliveries)

    with anyio.fail_after(5):
        settled = await world.settle(claimed)

    assert (statement.lost, settled.late) == (1, 0)


async def test_a_group_that_made_no_event_leaves_nothing_to_tell_whether_its_keys_were_in_force(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await new_key(world)
    await world.posted(event("op", "STARTED", id="known"))
    again = AcceptRequest("default", [event("op", "STARTED", id="known")], credential=b"key_new")
    (known,) = await world.accept.accept([again])
    assert not isinstance(known.answer, Refusal)
    statement = LostStatement(monkeypatch, is_sent=False)
    await keys_of(world).revoke_key(ADMIN, "key_new")

    (dead,) = await world.accept.accept([again])

    assert statement.lost == 1
    assert isinstance(dead.answer, Refusal)


async def test_a_statement_whose_process_in_the_server_does_not_end_is_not_said_to_be_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    claimed = await world.claim(lane.no)
    monkeypatch.setattr(doubt, "_LOOKING", 0.5)
    monkeypatch.setattr(doubt, "_IS_OPEN", "SELECT 1 WHERE ?::integer > 0")
    LostStatement(monkeypatch, is_sent=True)

    with pytest.raises(UnknownCommitError):
        await world.settle(claimed)

    assert (await world.settle(claimed)).late == 3  # as it was kept


@pytest.fixture
def standby(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once something is lost another server answers, which may be behind."""
    for name in ("_IS_OPEN", "_FATE"):
        text = getattr(doubt, name)
        monkeypatch.setattr(doubt, name, text.replace("pg_is_in_recovery()", "TRUE"))
    monkeypatch.setattr(doubt, "_LOOKING", 0.5)


@pytest.mark.usefixtures("standby")
async def test_what_a_standby_does_not_show_is_not_said_to_be_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    claimed = await world.claim(lane.no)

    LostStatement(monkeypatch, is_sent=False)
    with pytest.raises(UnknownCommitError):
        await world.settle(claimed)
    LostCommits(monkeypatch, is_sent=False)
    with pytest.raises(UnknownCommitError):
        await new_key(world)


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
def test_whatever_ends_a_session_may_come_after_what_it_did(severity: str) -> None:
    error = asyncpg.DataCorruptedError("no more")
    error.severity_en = severity
    assert faults.is_doubtful(error)
    error.severity_en = "ERROR"
    assert not faults.is_doubtful(error)


# --- what is managed: the entry in the audit log is the proof

Change = Callable[[World], Awaitable[object]]


def keys_of(world: World) -> KeyStore:
    return KeyStore(world.database, world.keys)


def tenants_of(world: World) -> TenantStore:
    return TenantStore(world.database, world.keys)


def new_key(world: World, name: str = "key_new") -> Awaitable[object]:
    key = ApiKey(1, name, "default", name, frozenset(), world.clock.now())
    return keys_of(world).create_key(ADMIN, key, NewText(name.encode(), None))


def new_tenant(world: World, name: str = "new") -> Awaitable[object]:
    return tenants_of(world).create_tenant(ADMIN, Tenant(1, name, name, world.clock.now()))


async def first_letter(world: World) -> Any:  # noqa: ANN401  what is read again and again
    return ref_of((await world.rows(schema.dead_letters))[0])


async def subscription(world: World) -> Any:  # noqa: ANN401  as above
    return await world.read.subscription("default", "sub")


async def replayed(world: World, trigger: Trigger) -> object:
    return await world.replay.replay_one("default", await first_letter(world), trigger, "key_x")


async def discarded(world: World) -> object:
    return await world.replay.discard("default", await first_letter(world), "key_x")


async def cancelled(world: World) -> object:
    (row,) = await world.rows(schema.delivery_queue)
    return await world.replay.cancel_delivery("default", ref_of(row), "key_x")


async def deleted(world: World) -> None:
    await world.delete(await subscription(world))


async def changed(world: World) -> object:
    return await world.change(await subscription(world), description="words")


def ticket(world: World) -> Awaitable[object]:
    made = Ticket(ADMIN, None, world.clock.now())
    return TicketStore(world.database, world.keys).issue(b"ticket", made)


#: What each is called in the audit log.
CHANGES: dict[str, Change] = {
    "subscription.created": lambda world: world.subscribe("another"),
    "subscription.changed": changed,
    "subscription.resumed": lambda world: world.manage.resume_subscription(
        "default", "sub", "key_x"
    ),
    "subscription.secret_rotated": lambda world: world.manage.rotate_secret(
        "default", "sub", Rotation(lambda _: b"new", 1_000), "key_x"
    ),
    "subscription.secret_revealed": lambda world: world.manage.reveal("default", "sub", "key_x"),
    "subscription.deleted": deleted,
    "api_key.created": new_key,
    "api_key.rotated": lambda world: keys_of(world).rotate_key(
        ADMIN, "key_old", NewText(b"rotated", None), 0
    ),
    "api_key.revoked": lambda world: keys_of(world).revoke_key(ADMIN, "key_old"),
    "tenant.created": new_tenant,
    "tenant.changed": lambda world: tenants_of(world).change_tenant(ADMIN, "old", {"name": "x"}),
    "tenant.deleted": lambda world: tenants_of(world).delete_tenant(ADMIN, "old"),
    "stream_ticket.issued": ticket,
    "operation.created": lambda world: world.describe("op", webhook={}),
    "replay.started": lambda world: world.replay.start_replay(
        world.replay_operation(), world.plan(), "key_x"
    ),
    "delivery.replayed": lambda world: replayed(world, Trigger.REPLAY),
    "delivery.retried": lambda world: replayed(world, Trigger.MANUAL),
    "delivery.cancelled": cancelled,
    "dead_letter.discarded": discarded,
}


async def everything(world: World) -> None:
    """Something of all that can be changed."""
    await world.subscribe()
    await world.posted(event("op", "STARTED"))
    await world.exhaust()
    await world.posted(event("op"))
    await new_key(world, "key_old")
    await new_tenant(world, "old")


@pytest.mark.parametrize("is_sent", [True, False])
@pytest.mark.parametrize("action", CHANGES)
async def test_a_change_whose_commit_was_not_answered_is_made_once(
    world: World, monkeypatch: pytest.MonkeyPatch, action: str, *, is_sent: bool
) -> None:
    await everything(world)
    before = len(await world.rows(schema.audit_log, action=action))
    commits = LostCommits(monkeypatch, is_sent=is_sent)

    made = await CHANGES[action](world)

    assert commits.lost == 1
    assert not isinstance(made, Refusal)
    assert len(await world.rows(schema.audit_log, action=action)) == before + 1


async def touched(world: World) -> None:
    """A change that leaves nothing to know it by."""

    async def job(tx: Tx) -> None:
        await tx.sql("UPDATE tenants SET name = 'touched'")

    await world.database.write(job)


async def test_what_leaves_nothing_to_know_it_by_is_not_said_to_be_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    LostCommits(monkeypatch, is_sent=True)

    with pytest.raises(UnknownCommitError, match="connection was closed"):
        await touched(world)

    assert [row["name"] for row in await world.rows(schema.tenants)] == ["touched"]


async def test_what_nobody_can_be_asked_about_is_not_said_to_be_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    LostCommits(monkeypatch, is_sent=True)
    # as of a transaction that is too long ago for the server to know
    monkeypatch.setattr(doubt, "_FATE", "SELECT NULL WHERE ?::text <> ''")

    with pytest.raises(UnknownCommitError):
        await world.subscribe()
    assert len(await world.rows(schema.subscriptions)) == 1


async def test_the_number_of_a_lost_transaction_that_was_given_again_proves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    LostCommits(monkeypatch, is_sent=False)
    # as the server says it of another transaction, which got the number after a crash
    monkeypatch.setattr(doubt, "_FATE", "SELECT 'committed' WHERE ?::text <> ''")

    with pytest.raises(StoreUnavailableError) as told:
        await world.posted(event("op", "STARTED"))

    assert not isinstance(told.value, UnknownCommitError)
    assert await world.log() == []


async def test_a_number_that_the_server_forgot_it_gave_was_lost_with_its_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()
    LostCommits(monkeypatch, is_sent=False)
    # as after a crash of the server that kept nothing of the transaction
    ahead = "SELECT pg_xact_status((?::text::bigint + 1000000)::text::xid8)"
    monkeypatch.setattr(doubt, "_FATE", ahead)

    await world.posted(event("op", "STARTED"))

    assert len(await world.log()) == 1
    assert len(await world.claim(lane.no)) == 1


# --- through a network that fails


class HeldAnswers(Harm):
    """Lets the next request through, and no answer after it."""

    _asked = False

    @property
    def delay(self) -> float:
        """Seconds: none for what is sent first, then more than anybody waits."""
        first, self._asked = not self._asked, True
        return 0.0 if first else 3_600.0

    @delay.setter
    def delay(self, _: float) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that a proxy can stand before, with a migrated database."""
    with postgres_on_a_port(tmp_path_factory.mktemp("postgres")) as server:
        asyncio.run(migrating.migrate(server.url(NAME)))
        yield server


class Away:
    """A world behind a proxy that holds the answer to the next commit back."""

    def __init__(self, proxy: FaultProxy, world: World, direct: str) -> None:
        self.proxy, self.world, self._direct = proxy, world, direct

    def lose_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        execute = asyncpg.Connection.execute

        async def held(connection: Any, query: str, *args: Any, **kw: Any) -> str:  # noqa: ANN401  as it is
            if query == "COMMIT":
                monkeypatch.setattr(asyncpg.Connection, "execute", execute)
                self.proxy.suffer(HeldAnswers())
            return str(await execute(connection, query, *args, **kw))

        monkeypatch.setattr(asyncpg.Connection, "execute", held)

    async def kept(self, name: str) -> None:
        """Wait until the server has committed the subscription."""
        found = "SELECT id FROM subscriptions WHERE id = $1"
        with anyio.fail_after(10):
            while not await postgres.run(self._direct, found, name):  # noqa: ASYNC110  only asking tells
                await asyncio.sleep(0.01)


@pytest.fixture
async def away(lab_server: Postgres, clock: FakeClock) -> AsyncIterator[Away]:
    async with (
        fault_proxy(lab_server.port) as proxy,
        opened_world(lab_server.url(NAME, proxy.port), clock) as world,
    ):
        yield Away(proxy, world, lab_server.url(NAME))


async def test_a_connection_that_is_cut_before_its_answer_loses_nothing(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    away.lose_the_next(monkeypatch)
    making = asyncio.create_task(away.world.subscribe("cut"))
    await away.kept("cut")
    assert not making.done()

    away.proxy.suffer(Harm())
    away.proxy.cut()

    assert (await making).id == "cut"
    assert len(await away.world.rows(schema.audit_log, target="cut")) == 1


async def test_a_server_that_stays_away_after_a_commit_is_not_said_to_have_kept_nothing(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "_LOOKING", 0.5)
    away.lose_the_next(monkeypatch)
    making = asyncio.create_task(away.world.subscribe("lost"))
    await away.kept("lost")

    away.proxy.suffer(Harm(is_down=True))

    with pytest.raises(UnknownCommitError):
        await making
    away.proxy.suffer(Harm())
    assert len(await away.world.rows(schema.subscriptions, id="lost")) == 1
