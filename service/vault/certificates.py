"""Client certificates and authorities, as their owners give them: PEM texts, read strictly."""

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from service.domain import times
from service.domain.certificates import (
    AUTHORITIES,
    CERTIFICATE,
    KEY,
    MAX_AUTHORITIES,
    MAX_CERTIFICATE_TEXT,
    MAX_CHAIN,
    MAX_KEY_TEXT,
    CertificateFacts,
    CheckedIdentity,
    TlsFacts,
    TlsIdentity,
)
from service.domain.errors import Fault

#: Larger keys cost a tenth of a second of every new connection.
_RSA_BITS: Final = range(2048, 4097)
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class _UnfitError(Exception):
    """What was given cannot be used; says why, and what to do."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(pointer, detail)


def read(given: TlsIdentity, now: int) -> CheckedIdentity | list[Fault]:
    """Check an identity at the moment ``now`` (ms); the texts come back in one canonical form.

    Faults name the member they are about and never repeat any of it.
    """
    faults = []
    chain: Sequence[x509.Certificate] = ()
    authorities: Sequence[x509.Certificate] = ()
    key: _PrivateKey | None = None
    try:
        chain = _client_chain(given.certificate, now)
    except _UnfitError as error:
        faults.append(error.fault)
    try:
        key = _private_key(given.key)
    except _UnfitError as error:
        faults.append(error.fault)
    try:
        authorities = _certificates(given.authorities, AUTHORITIES, MAX_AUTHORITIES, now)
    except _UnfitError as error:
        faults.append(error.fault)
    faults += [] if faults else _pair_faults(chain, key)
    return faults or _checked(chain, key, authorities)


def _checked(
    chain: Sequence[x509.Certificate],
    key: _PrivateKey | None,
    authorities: Sequence[x509.Certificate],
) -> CheckedIdentity:
    identity = TlsIdentity(_pem(chain), _key_pem(key), _pem(authorities))
    client = _facts(chain[0]) if chain else None
    return CheckedIdentity(identity, TlsFacts(client, tuple(map(_facts, authorities))))


def _client_chain(text: str | None, now: int) -> Sequence[x509.Certificate]:
    chain = _certificates(text, CERTIFICATE, MAX_CHAIN, now)
    for child, parent in pairwise(chain):
        if child.issuer != parent.subject:
            raise _UnfitError(
                CERTIFICATE,
                "The certificates are not in order: send the client's own first, then each "
                "issuer's behind the one it signed.",
            )
    if chain and not _is_for_clients(chain[0]):
        raise _UnfitError(
            CERTIFICATE,
            "The first certificate is not for clients: its extended key usage lacks clientAuth.",
        )
    return chain


def _certificates(
    text: str | None, pointer: str, most: int, now: int
) -> Sequence[x509.Certificate]:
    """The certificates in a text; none without a text."""
    if text is None:
        return ()
    if len(text) > MAX_CERTIFICATE_TEXT:
        raise _UnfitError(pointer, f"At most {MAX_CERTIFICATE_TEXT} characters are possible.")
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        for each in found:
            _look_at(each)
    except Exception:  # noqa: BLE001  of hostile input the library raises TypeError as well
        raise _UnfitError(
            pointer,
            "There is no certificate in PEM that can be read; send what stands from "
            "'-----BEGIN CERTIFICATE-----' to '-----END CERTIFICATE-----', lines included.",
        ) from None
    if len(found) > most:
        raise _UnfitError(pointer, f"At most {most} certificates are possible, not {len(found)}.")
    for each in found:
        _check_time(each, pointer, now)
    return found


def _look_at(certificate: x509.Certificate) -> None:
    """Decode what is decoded late; raises when that is not possible."""
    certificate.public_key()
    _facts(certificate)
    _is_for_clients(certificate)


def _check_time(certificate: x509.Certificate, pointer: str, now: int) -> None:
    moment = dt.datetime.fromtimestamp(now / 1000, dt.UTC)
    subject = certificate.subject.rfc4514_string()
    if certificate.not_valid_after_utc <= moment:
        end = _moment(certificate.not_valid_after_utc)
        raise _UnfitError(pointer, f"The certificate of {subject!r} expired at {end}.")
    if certificate.not_valid_before_utc > moment:
        start = _moment(certificate.not_valid_before_utc)
        raise _UnfitError(pointer, f"The certificate of {subject!r} is not valid before {start}.")


def _private_key(text: str | None) -> _PrivateKey | None:
    if text is None:
        return None
    if len(text) > MAX_KEY_TEXT:
        raise _UnfitError(KEY, f"At most {MAX_KEY_TEXT} characters are possible.")
    try:
        # without a proof that its numbers are prime, which takes seconds: who sends a key that is
        # none harms nobody else
        key = serialization.load_pem_private_key(
            text.encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        raise _UnfitError(KEY, "The key needs a password; send it decrypted.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _UnfitError(KEY, "There is no private key in PEM that can be read.") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in _RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise _UnfitError(
        KEY, "The key must be RSA of 2048 to 4096 bits, EC of P-256, P-384 or P-521, or Ed25519."
    )


def _pair_faults(chain: Sequence[x509.Certificate], key: _PrivateKey | None) -> list[Fault]:
    if not chain and key is None:
        return []
    if key is None:
        return [Fault(KEY, "is required: the private key of 'clientCertificate', in PEM")]
    if not chain:
        return [Fault(CERTIFICATE, "is required: the certificate of 'clientKey', in PEM")]
    if chain[0].public_key() != key.public_key():
        return [Fault(KEY, "The key is not that of the first certificate in 'clientCertificate'.")]
    return []


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    wanted = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    return any(each in usage for each in wanted)


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        not_after=_moment(certificate.not_valid_after_utc),
        fingerprint="sha256:" + certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _moment(at: dt.datetime) -> str:
    return times.render(round(at.timestamp() * 1000))


def _pem(certificates: Sequence[x509.Certificate]) -> str | None:
    encoding = serialization.Encoding.PEM
    return "".join(each.public_bytes(encoding).decode() for each in certificates) or None


def _key_pem(key: _PrivateKey | None) -> str | None:
    if key is None:
        return None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
