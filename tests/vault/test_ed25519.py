"""Private keys: made, sealed, and signing what only their public key verifies."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from service.domain.signature import sign_standard
from service.ports import SealError
from service.vault import ed25519
from service.vault.keyring import parse_key_ring

RING = parse_key_ring("k1:" + base64.b64encode(b"1" * 32).decode())
ROW = "subscription_secrets/sub_1/1/key"
seeds = st.binary(min_size=32, max_size=32)


def public(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.removeprefix("whpk_")))


def test_the_first_example_of_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")

    assert ed25519.public_key(seed).hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )
    assert ed25519.signer(seed)(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")


@given(seeds, seeds, st.binary(max_size=200))
def test_only_its_own_public_key_verifies(seed: bytes, other: bytes, body: bytes) -> None:
    mine, theirs = RING.new_key(seed, ROW), RING.new_key(other, ROW)
    entries = sign_standard((), "evt_1", 7, body, [RING.signer(mine.sealed, ROW)])
    version, _, signature = entries.partition(",")
    signed = base64.b64decode(signature)

    assert version == "v1a"
    public(mine.public).verify(signed, b"evt_1.7." + body)
    if seed != other:
        with pytest.raises(InvalidSignature):
            public(theirs.public).verify(signed, b"evt_1.7." + body)


def test_secrets_come_before_keys_and_the_newest_first() -> None:
    signers = [RING.signer(RING.new_key(bytes([n]) * 32, ROW).sealed, ROW) for n in range(2)]
    entries = sign_standard((b"a" * 32, b"b" * 32), "evt_1", 7, b"{}", signers).split(" ")

    assert [entry.partition(",")[0] for entry in entries] == ["v1", "v1", "v1a", "v1a"]
    assert entries == [
        *sign_standard((b"a" * 32, b"b" * 32), "evt_1", 7, b"{}").split(" "),
        *sign_standard((), "evt_1", 7, b"{}", signers).split(" "),
    ]


def test_a_private_key_is_sealed_for_its_row() -> None:
    seed = b"\x07" * 32
    key = RING.new_key(seed, ROW)

    assert seed not in key.sealed
    assert RING.open(key.sealed, ROW) == seed
    with pytest.raises(SealError, match="another row"):
        RING.signer(key.sealed, "subscription_secrets/sub_1/2/key")
