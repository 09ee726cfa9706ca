"""API keys and what they may do."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.api_keys import KEY_BYTES, Scope, covers, hash_key, new_key, public_part

randoms = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)


@given(randoms)
def test_a_key_has_a_public_and_a_secret_part(random: bytes) -> None:
    key = new_key(random)
    assert len(key) == 55
    assert key.startswith(f"rb_{random[:4].hex()}_")
    assert public_part(key) == random[:4].hex()


@given(randoms, randoms)
def test_other_bytes_make_another_key(one: bytes, other: bytes) -> None:
    assert (new_key(one) == new_key(other)) == (one == other)


@pytest.mark.parametrize("size", [0, 35, 37])
def test_a_key_of_too_little_chance_is_a_bug(size: int) -> None:
    with pytest.raises(ValueError, match="36 random bytes"):
        new_key(bytes(size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rb_",
        "rb_0123456G_" + "a" * 43,
        "rb_01234567_" + "a" * 42,
        "rb_01234567_" + "a" * 43 + "\n",
    ],
)
def test_other_texts_have_no_public_part(text: str) -> None:
    assert public_part(text) is None


def test_the_hash_covers_the_whole_text() -> None:
    key = new_key(bytes(KEY_BYTES))
    assert hash_key(key) == hashlib.sha256(key.encode()).digest()
    assert hash_key(key) != hash_key(key[:-1])
    assert len(hash_key("an admin key of one's own: ß")) == 32


def test_the_scopes_are_the_contracts() -> None:
    assert list(Scope) == [
        "events:write",
        "operations:read",
        "operations:write",
        "subscriptions:read",
        "subscriptions:write",
        "deliveries:read",
        "deliveries:replay",
        "admin",
    ]


@given(st.frozensets(st.sampled_from(Scope)), st.sampled_from(Scope))
def test_a_key_may_do_what_it_names_and_admin_everything(
    scopes: frozenset[Scope], needed: Scope
) -> None:
    assert covers(scopes, needed) == (needed in scopes or Scope.ADMIN in scopes)
    assert covers([scope.value for scope in scopes], needed) == covers(scopes, needed)


def test_writing_is_not_reading() -> None:
    assert not covers({Scope.SUBSCRIPTIONS_WRITE}, Scope.SUBSCRIPTIONS_READ)
    assert not covers((), Scope.EVENTS_WRITE)
