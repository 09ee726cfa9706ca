"""Keys that are presumed to be in force: what they allow is kept only if they are."""

import pytest

from service.domain.acceptance import Accepted
from service.domain.errors import Refusal, RefusalKind
from service.ports import AcceptRequest, Once, Replayed
from service.store import schema
from tests.support.world import World, event

pytestmark = pytest.mark.anyio

#: What ends a key, each by itself.
ENDS = {
    "revoked": "UPDATE api_keys SET revoked_at = 1 WHERE hash = ?",
    "expired": "UPDATE api_keys SET expires_at = 1 WHERE hash = ?",
    "rotated": "UPDATE api_keys SET hash = x'00' WHERE hash = ?",
    "overlap over": "UPDATE api_keys SET previous_hash = hash, hash = x'00', previous_until = 1 "
    "WHERE hash = ?",
    "deleted": "DELETE FROM api_keys WHERE hash = ?",
}
#: What leaves it in force.
STAYS = {
    "as it is": "UPDATE api_keys SET last_used_at = 1 WHERE hash = ?",
    "expires later": "UPDATE api_keys SET expires_at = 4000000000000 WHERE hash = ?",
    "overlaps": "UPDATE api_keys SET previous_hash = hash, hash = x'00', "
    "previous_until = 4000000000000 WHERE hash = ?",
}


def posted(name: str, credential: bytes | None, once: Once | None = None) -> AcceptRequest:
    return AcceptRequest("default", [event(name)], once, credential=credential)


async def keys(world: World, *names: bytes) -> None:
    for name in names:
        await world.manage.ensure_key(name.decode(), "a key", name, ("events:write",))


async def change(world: World, text: str, digest: bytes) -> None:
    text = text if world.database.is_shared is False else text.replace("x'00'", r"'\x00'")
    await world.sql(text, digest)


def outcome(answer: object) -> str:
    if isinstance(answer, Refusal):
        assert answer.kind is RefusalKind.UNAUTHENTICATED
        assert "Authorization" in answer.detail
        return "refused"
    assert isinstance(answer, list)
    assert all(isinstance(each, Accepted) for each in answer)
    return "kept"


@pytest.mark.parametrize("how", [*ENDS, *STAYS])
async def test_what_a_key_posts_is_kept_as_long_as_it_is_in_force(world: World, how: str) -> None:
    await keys(world, b"one", b"two")
    await change(world, {**ENDS, **STAYS}[how], b"two")

    group = [posted("a", b"one"), posted("b", b"two"), posted("c", b"one"), posted("d", None)]
    results = await world.accept.accept(group)

    stays = how in STAYS
    expected = ["kept", "kept" if stays else "refused", "kept", "kept"]
    assert [outcome(each.answer) for each in results] == expected
    # what confirms a key and what looks one up are of one mind
    assert (await world.manage.find_key(b"two") is not None) is stays
    names = {row["operation_id"] for row in await world.rows(schema.events)}
    assert names == {"a", "c", "d"} | ({"b"} if stays else set())
    assert {row["id"] for row in await world.rows(schema.operations)} == names


async def test_who_only_repeats_needs_a_key_in_force_as_well(world: World) -> None:
    await keys(world, b"one")
    once = Once("again", b"print", lambda _: b"answer")
    await world.accept.accept([posted("a", b"one", once)])
    assert (await world.accept.accept([posted("a", b"one", once)]))[0].answer == Replayed(b"answer")
    await change(world, ENDS["revoked"], b"one")

    (result,) = await world.accept.accept([posted("a", b"one", once)])

    assert outcome(result.answer) == "refused"
    assert len(await world.rows(schema.events)) == 1


async def test_all_of_a_group_may_be_refused(world: World) -> None:
    results = await world.accept.accept([posted("a", b"none"), posted("b", b"other")])

    assert [outcome(each.answer) for each in results] == ["refused", "refused"]
    assert await world.rows(schema.events) == []
