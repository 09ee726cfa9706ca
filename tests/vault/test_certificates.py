"""Certificates as they come: what is taken, what is shown of it, and what is said of the rest."""

import base64
import datetime as dt
import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.certificates import (
    AUTHORITIES,
    CERTIFICATE,
    KEY,
    MAX_AUTHORITIES,
    MAX_CERTIFICATE_TEXT,
    MAX_CHAIN,
    MAX_KEY_TEXT,
    CheckedIdentity,
    TlsIdentity,
    packed,
    read_facts,
    unpacked,
    written,
)
from service.domain.errors import Fault
from service.vault.certificates import read
from tests.support.authority import Authority, Pair, key_pem

ROOT = Authority.make("Root")
CLIENT = ROOT.client("acme")
NOW = time.time_ns() // 1_000_000
DAY = dt.timedelta(days=1)


def checked(given: TlsIdentity) -> CheckedIdentity:
    found = read(given, NOW)
    assert isinstance(found, CheckedIdentity), found
    return found


def faults(given: TlsIdentity) -> list[Fault]:
    found = read(given, NOW)
    assert isinstance(found, list)
    return found


def fault(given: TlsIdentity) -> tuple[str, str]:
    (only,) = faults(given)
    return only.pointer, only.detail


def of(pair: Pair, **members: Any) -> TlsIdentity:  # noqa: ANN401  members of an identity
    return TlsIdentity(**{"certificate": pair.certificate, "key": pair.key, **members})


def test_a_client_and_its_authority() -> None:
    found = checked(of(CLIENT, authorities=ROOT.pem))

    shown = found.facts.client_certificate
    assert shown is not None
    made = x509.load_pem_x509_certificate(CLIENT.certificate.encode())
    assert shown.subject == "CN=acme"
    assert shown.fingerprint == f"sha256:{made.fingerprint(hashes.SHA256()).hex()}"
    assert shown.not_after == f"{made.not_valid_after_utc:%Y-%m-%dT%H:%M:%S}.000Z"
    assert [each.subject for each in found.facts.ca_certificate] == ["CN=Root"]
    assert unpacked(packed(found.identity)) == found.identity
    assert read_facts(written(found.facts)) == found.facts
    assert CLIENT.key not in repr(found)


def test_nothing_is_nothing() -> None:
    assert checked(TlsIdentity()).identity == TlsIdentity()


def test_each_half_alone() -> None:
    assert checked(TlsIdentity(authorities=ROOT.pem)).facts.client_certificate is None
    assert checked(of(CLIENT)).facts.ca_certificate == ()


def test_a_chain_in_its_order() -> None:
    middle = Authority.make("Middle", ROOT)
    leaf = middle.client("leaf")
    chain = leaf.certificate + middle.pem + ROOT.pem

    assert checked(of(leaf, certificate=chain)).identity.certificate == chain
    assert fault(of(leaf, certificate=leaf.certificate + ROOT.pem + middle.pem)) == (
        CERTIFICATE,
        (
            "The certificates are not in order: send the client's own first, then each issuer's "
            "behind the one it signed."
        ),
    )


def test_what_stands_around_is_left_out() -> None:
    text = f"subject: acme\r\n{CLIENT.certificate.replace(chr(10), chr(13) + chr(10))}\n"

    assert checked(of(CLIENT, certificate=text)).identity == checked(of(CLIENT)).identity


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "ec", "ed25519"],
)
def test_keys_of_these_kinds(key: Any) -> None:  # noqa: ANN401  keys of many types
    assert checked(of(ROOT.client(key=key))).identity.key == key_pem(key)


def test_keys_in_older_forms_become_pkcs8() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    old = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()

    assert "BEGIN EC PRIVATE KEY" in old
    assert checked(of(ROOT.client(key=key), key=old)).identity.key == key_pem(key)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),  # noqa: S505  too short, on purpose
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=["short", "curve", "ed448"],
)
def test_keys_of_other_kinds(key: Any) -> None:  # noqa: ANN401  keys of many types
    where, said = fault(of(CLIENT, key=key_pem(key)))

    assert where == KEY
    assert said.startswith("The key must be RSA of 2048 to 4096 bits, EC of P-256")


def test_a_large_key_is_refused_before_it_costs_anything() -> None:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    n = numbers.public_numbers.n << 6144 | 1
    large = _der_of_rsa(n, numbers)
    begun = time.thread_time()

    where, _ = fault(of(CLIENT, key=large))

    assert where == KEY
    assert time.thread_time() - begun < 1


def _der_of_rsa(n: int, numbers: rsa.RSAPrivateNumbers) -> str:
    """A key with a modulus of one's choice, which the library itself would not write."""

    def integer(value: int) -> bytes:
        return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1))

    q = numbers
    parts = (0, n, 65537, q.d, q.p, q.q, q.dmp1, q.dmq1, q.iqmp)
    der = _tagged(0x30, b"".join(map(integer, parts)))
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{text}-----END RSA PRIVATE KEY-----\n"


def _tagged(tag: int, value: bytes) -> bytes:
    size = len(value).to_bytes((len(value).bit_length() + 7) // 8 or 1)
    short = len(value) < 128
    return bytes([tag]) + (size if short else bytes([0x80 | len(size)]) + size) + value


def test_an_encrypted_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    ).decode()

    assert fault(of(ROOT.client(key=key), key=locked)) == (
        KEY,
        "The key needs a password; send it decrypted.",
    )


@pytest.mark.parametrize(
    ("given", "where", "says"),
    [
        (TlsIdentity(certificate=CLIENT.certificate), KEY, "is required: the private key of"),
        (TlsIdentity(key=CLIENT.key), CERTIFICATE, "is required: the certificate of"),
        (of(CLIENT, key=ROOT.client().key), KEY, "is not that of the first certificate"),
        (of(CLIENT, certificate=CLIENT.key), CERTIFICATE, "no certificate in PEM"),
        (of(CLIENT, certificate=""), CERTIFICATE, "no certificate in PEM"),
        (of(CLIENT, key=CLIENT.certificate), KEY, "no private key in PEM"),
        (of(CLIENT, key=""), KEY, "no private key in PEM"),
        (TlsIdentity(authorities="trust me"), AUTHORITIES, "no certificate in PEM"),
        (of(CLIENT, certificate="x" * (MAX_CERTIFICATE_TEXT + 1)), CERTIFICATE, "At most 65536"),
        (of(CLIENT, key="x" * (MAX_KEY_TEXT + 1)), KEY, "At most 8192 characters"),
        (
            TlsIdentity(authorities=ROOT.pem * (MAX_AUTHORITIES + 1)),
            AUTHORITIES,
            f"At most {MAX_AUTHORITIES} certificates are possible, not {MAX_AUTHORITIES + 1}.",
        ),
        (of(CLIENT, certificate=ROOT.pem * (MAX_CHAIN + 1)), CERTIFICATE, "At most 10"),
        (of(ROOT.client("old", end=-DAY)), CERTIFICATE, "'CN=old' expired at 20"),
        (of(ROOT.client("new", start=DAY, end=2 * DAY)), CERTIFICATE, "is not valid before 20"),
        (
            of(ROOT.client(usage=ExtendedKeyUsageOID.SERVER_AUTH)),
            CERTIFICATE,
            "is not for clients: its extended key usage lacks clientAuth",
        ),
        (
            TlsIdentity(authorities=ROOT.client("old", end=-DAY).certificate),
            AUTHORITIES,
            "expired at",
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_is(given: TlsIdentity, where: str, says: str) -> None:
    pointer, detail = fault(given)

    assert pointer == where
    assert says in detail
    for text in (given.certificate, given.key, given.authorities):
        assert not text or text not in detail


def test_certificates_that_say_nothing_of_their_use_are_taken() -> None:
    for usage in (None, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
        assert checked(of(ROOT.client(usage=usage))).facts.client_certificate is not None


def test_all_faults_come_at_once() -> None:
    found = faults(TlsIdentity("no", "no", "no"))

    assert [each.pointer for each in found] == [CERTIFICATE, KEY, AUTHORITIES]


DER = x509.load_pem_x509_certificate(CLIENT.certificate.encode()).public_bytes(
    serialization.Encoding.DER
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), max_size=4))
def test_damaged_certificates_never_surprise(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(DER)
    for place, value in changes:
        damaged[place] = value
    text = base64.encodebytes(bytes(damaged)).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"

    for given_ in (of(CLIENT, certificate=pem), TlsIdentity(authorities=pem)):
        found = read(given_, NOW)
        assert isinstance(found, CheckedIdentity) or found


@given(st.text(max_size=80))
def test_any_text_is_answered(text: str) -> None:
    pem = f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----"
    for given_ in (TlsIdentity(pem, text, pem), TlsIdentity(text, pem, text)):
        assert faults(given_)
