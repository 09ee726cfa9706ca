"""Links into the portal: opened once, and what they and their sessions stand on."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import update

from service.domain.errors import Refusal
from service.domain.ids import KeyMaker
from service.ports import OneSubscription, PortalGuest, PortalLink, Principal, Replayed
from service.store import schema
from service.store.database import Database, Tx
from service.store.managing import ManageStore
from service.store.portals import PortalStore, forget_over
from service.store.schema_portal import portal_links
from service.store.tenancy import TenantStore
from service.store.tickets import TicketStore
from tests.store.conftest import MakeSubscription, Rows
from tests.support.clock import FakeClock
from tests.support.world import kept

pytestmark = pytest.mark.anyio

LINK_MS = 1_000
SESSION_MS = 60_000
SCOPES = frozenset({"deliveries:read"})
WHO = Principal("key_1", "default", frozenset({"admin"}))


@pytest.fixture
async def portals(database: Database, manage: ManageStore, keys: KeyMaker) -> PortalStore:
    await manage.ensure_key("key_1", "bootstrap", b"digest", ["admin"])
    return PortalStore(database, keys)


@pytest.fixture
async def issued(portals: PortalStore, clock: FakeClock) -> PortalLink:
    now = clock.now()
    link = PortalLink("pl_1", "default", "key_1", None, SCOPES, now, now + LINK_MS, SESSION_MS)
    assert await portals.issue(b"link", link) == link
    return link


async def test_a_link_opens_one_session_once(
    portals: PortalStore, issued: PortalLink, clock: FakeClock
) -> None:
    assert await portals.guest(b"link") is None
    found = await asyncio.gather(*(portals.open(b"link") for _ in range(5)))

    who = Principal(issued.id, "default", SCOPES, named=True)
    session = PortalGuest(who, None, clock.now() + SESSION_MS)
    assert [each for each in found if each is not None] == [session]
    assert await portals.guest(b"link") == session
    assert await portals.open(b"another") is None


async def test_who_may_embed_what_a_link_opens_is_known_before_it_is_opened(
    portals: PortalStore, issued: PortalLink, database: Database, clock: FakeClock
) -> None:
    assert await portals.embedders(b"link") == ()

    async def allow(tx: Tx) -> None:
        await tx.change(update(schema.tenants).values(portal_origins="https://a.test https://b"))

    await database.write(allow)
    assert await portals.embedders(b"link") == ("https://a.test", "https://b")
    assert await portals.embedders(b"another") is None
    late = replace(issued, id="pl_2")
    assert await portals.issue(b"late", late) == late
    assert await portals.open(b"link") is not None
    assert await portals.embedders(b"link") is None
    clock.advance(LINK_MS)
    assert await portals.embedders(b"late") is None


@pytest.mark.usefixtures("issued")
async def test_a_link_must_be_opened_in_time_and_its_session_lasts_as_long_as_it_says(
    portals: PortalStore, clock: FakeClock
) -> None:
    clock.advance(LINK_MS - 1)
    assert await portals.open(b"link") is not None
    clock.advance(SESSION_MS - 1)
    assert await portals.guest(b"link") is not None
    clock.advance(1)
    assert await portals.guest(b"link") is None


@pytest.mark.usefixtures("issued")
async def test_a_link_that_is_too_late_never_opens(portals: PortalStore, clock: FakeClock) -> None:
    clock.advance(LINK_MS)
    assert await portals.open(b"link") is None
    assert await portals.guest(b"link") is None


@pytest.mark.usefixtures("issued")
@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
async def test_a_session_dies_with_its_key(
    portals: PortalStore, database: Database, keys: KeyMaker, clock: FakeClock, column: str
) -> None:
    streams = TicketStore(database, keys)
    assert await portals.open(b"link") is not None
    assert await streams.in_force(["pl_1", "key_1", "pl_2"]) == {"pl_1", "key_1"}

    async def end(tx: Tx) -> None:
        await tx.change(update(schema.api_keys).values({column: clock.now()}))

    await database.write(end)
    assert await portals.guest(b"link") is None
    assert await streams.in_force(["pl_1"]) == frozenset()


async def test_a_link_for_one_subscription_dies_with_it(
    portals: PortalStore, issued: PortalLink, subscribe: MakeSubscription, manage: ManageStore
) -> None:
    hook = await subscribe("sub_1")
    bound = replace(issued, id="pl_2", subscription_id=hook.id)
    assert await portals.issue(b"bound", bound) == bound
    found = await portals.open(b"bound")
    assert found is not None
    assert found.subscription == OneSubscription(hook.no, hook.id)

    assert await manage.delete_subscription("default", hook.id, "key_1") is None

    assert await portals.guest(b"bound") is None
    assert isinstance(await portals.issue(b"late", replace(bound, id="pl_3")), Refusal)


async def test_links_go_with_their_tenant(
    portals: PortalStore, issued: PortalLink, database: Database, keys: KeyMaker, rows: Rows
) -> None:
    tenants = TenantStore(database, keys)
    assert isinstance(await portals.issue(b"a", replace(issued, tenant_id="acme")), Refusal)

    async def acme(tx: Tx) -> None:
        columns = ("id", "name", "created_at", "feed_position", "config_version")
        await tx.insert(schema.tenants, columns, [("acme", "Acme", tx.now, 0, keys.next(tx.now))])

    await database.write(acme)
    there = replace(issued, id="pl_2", tenant_id="acme")
    assert await portals.issue(b"there", there) == there
    assert await portals.open(b"there") is not None

    assert await tenants.delete_tenant(WHO, "acme") is None

    assert await portals.guest(b"there") is None
    assert [row["id"] for row in await rows(portal_links)] == ["pl_1"]


async def test_who_has_a_link_revokes_it(
    portals: PortalStore, issued: PortalLink, rows: Rows
) -> None:
    kept_one = replace(issued, id="pl_2")
    assert await portals.issue(b"other", kept_one) == kept_one
    assert await portals.open(b"link") is not None

    refused = await portals.revoke(replace(WHO, tenant_id="acme"), "pl_1")
    assert isinstance(refused, Refusal)
    assert await portals.guest(b"link") is not None
    assert await portals.revoke(WHO, "pl_1") is None

    assert await portals.guest(b"link") is None
    assert isinstance(await portals.revoke(WHO, "pl_1"), Refusal)
    assert [row["id"] for row in await rows(portal_links)] == ["pl_2"]
    noted = [row for row in await rows(schema.audit_log) if row["action"] == "portal_link.revoked"]
    assert [(row["actor"], row["target"]) for row in noted] == [(WHO.key_id, "pl_1")]


async def test_the_same_request_makes_one_link(
    portals: PortalStore, issued: PortalLink, rows: Rows
) -> None:
    first = replace(issued, id="pl_2")
    assert await portals.issue(b"a", first, kept()) == first
    assert isinstance(await portals.issue(b"b", first, kept()), Replayed)
    assert isinstance(await portals.issue(b"c", first, kept(fingerprint=b"x")), Refusal)

    assert sorted(row["hash"] for row in await rows(portal_links)) == [b"a", b"link"]


@pytest.mark.usefixtures("issued")
async def test_what_is_over_is_forgotten_and_what_is_ended_at_once(
    portals: PortalStore, database: Database, clock: FakeClock
) -> None:
    await portals.open(b"link")
    clock.advance(SESSION_MS - 1)
    assert await database.write(forget_over) == 0
    clock.advance(1)
    assert await database.write(forget_over) == 1
    assert await database.write(forget_over) == 0


@pytest.mark.usefixtures("issued")
async def test_a_session_is_ended(portals: PortalStore) -> None:
    await portals.open(b"link")
    await portals.end(b"link")
    assert await portals.guest(b"link") is None
