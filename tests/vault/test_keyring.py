"""Sealed secrets: bound to their row, openable after a rotation, closed to everything else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ports import SealError
from service.vault.keyring import KeyRing, KeyRingError, generate, parse_key_ring

ROW = "subscription_secrets/sub_1/1"
KEY_1 = base64.b64encode(b"1" * 32).decode()
KEY_2 = base64.b64encode(b"2" * 32).decode()
OLD = parse_key_ring(f"k1:{KEY_1}")
BOTH = parse_key_ring(f"k2:{KEY_2},k1:{KEY_1}")
NEW = parse_key_ring(f"k2:{KEY_2}")


@given(st.binary(max_size=200), st.text(max_size=60))
def test_what_is_sealed_opens_for_the_same_row(plaintext: bytes, context: str) -> None:
    sealed = BOTH.seal(plaintext, context)
    assert BOTH.open(sealed, context) == plaintext
    assert sealed.startswith(b"v1:k2:")
    assert len(sealed) == len(b"v1:k2:") + 12 + len(plaintext) + 16


@given(st.binary(max_size=50), st.text(max_size=30), st.text(max_size=30))
def test_it_opens_for_no_other_row(plaintext: bytes, context: str, other: str) -> None:
    if other != context:
        with pytest.raises(SealError, match="another row"):
            BOTH.open(BOTH.seal(plaintext, context), other)


@given(st.binary(max_size=50), st.data())
def test_any_flipped_bit_closes_it(plaintext: bytes, data: st.DataObject) -> None:
    sealed = bytearray(BOTH.seal(plaintext, ROW))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealError):
        BOTH.open(bytes(sealed), ROW)


@given(st.binary(max_size=80) | st.binary(max_size=80).map(b"v1:k1:".__add__))
def test_foreign_bytes_never_open_and_never_surprise(sealed: bytes) -> None:
    with pytest.raises(SealError):
        BOTH.open(sealed, ROW)


def test_the_name_of_the_key_is_bound_too() -> None:
    same_key = parse_key_ring(f"a:{KEY_1},b:{KEY_1}")
    sealed = same_key.seal(b"secret", ROW)
    with pytest.raises(SealError, match="'b'"):
        same_key.open(sealed.replace(b"v1:a:", b"v1:b:"), ROW)


def test_a_cut_value_does_not_open() -> None:
    sealed = BOTH.seal(b"secret", ROW)
    for end in range(len(sealed)):
        with pytest.raises(SealError):
            BOTH.open(sealed[:end], ROW)


def test_the_same_secret_never_looks_the_same() -> None:
    assert len({BOTH.seal(b"secret", ROW) for _ in range(50)}) == 50


def test_a_rotation_opens_the_old_and_seals_with_the_new() -> None:
    sealed = OLD.seal(b"secret", ROW)
    assert OLD.is_current(sealed)
    assert not BOTH.is_current(sealed)
    moved = BOTH.reseal(sealed, ROW)
    assert BOTH.is_current(moved)
    assert NEW.open(moved, ROW) == b"secret"
    with pytest.raises(SealError, match="'k1'"):
        NEW.open(sealed, ROW)
    with pytest.raises(SealError, match="another row"):
        BOTH.reseal(sealed, "elsewhere")


def test_a_name_that_begins_like_another_is_not_it() -> None:
    ring = parse_key_ring(f"k:{KEY_1},k2:{KEY_2}")
    assert not ring.is_current(NEW.seal(b"secret", ROW))


def test_another_key_of_the_same_name_does_not_open() -> None:
    with pytest.raises(SealError, match="no longer the same"):
        parse_key_ring(f"k1:{KEY_2}").open(OLD.seal(b"secret", ROW), ROW)


def test_a_generated_ring_is_usable_and_new_each_time() -> None:
    first, second = generate(), generate()
    assert first != second
    assert first.startswith("k1:")
    ring = parse_key_ring(first)
    assert ring.open(ring.seal(b"secret", ROW), ROW) == b"secret"


@given(st.binary(min_size=32, max_size=32))
def test_keys_in_any_usual_base64_are_read(key: bytes) -> None:
    sealed = KeyRing({"k": key}).seal(b"secret", ROW)
    standard = base64.b64encode(key).decode()
    url_safe = base64.urlsafe_b64encode(key).decode()
    for text in (standard, url_safe, standard.rstrip("="), f" {url_safe}\n"):
        assert parse_key_ring(f" k:{text}").open(sealed, ROW) == b"secret"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Key 1 is empty."),
        (f"k1:{KEY_1},", "Key 2 is empty."),
        (KEY_1, "Key 1 has no name in front of it."),
        (f"{KEY_1}:k1", "Key 1 has a bad name."),
        (f":{KEY_1}", "Key 1 has a bad name."),
        (f"k 1:{KEY_1}", "Key 1 has a bad name."),
        (f"k1:{KEY_1},k1:{KEY_2}", "Key 2 has the name 'k1' a second time."),
        ("k1:***", "Key 1 ('k1') is not base64."),
        ("k1:é", "Key 1 ('k1') is not base64."),
        ("k1:", "Key 1 ('k1') has 0 bytes, not 32."),
        (f"k1:{base64.b64encode(bytes(16)).decode()}", "Key 1 ('k1') has 16 bytes, not 32."),
    ],
)
def test_a_bad_ring_says_what_and_how_to_mend_it(text: str, says: str) -> None:
    with pytest.raises(KeyRingError) as caught:
        parse_key_ring(text)
    assert says in str(caught.value)
    assert "Make one with" in str(caught.value)
    assert KEY_1 not in str(caught.value)


def test_all_faults_of_a_ring_are_said_at_once() -> None:
    with pytest.raises(KeyRingError, match=r"Key 1 .* Key 3 "):
        parse_key_ring(f"k1:x,k2:{KEY_2},k3")


def test_neither_ring_nor_key_shows_in_a_repr() -> None:
    assert "1111" not in repr(OLD)
