"""What a subscription's TLS connections go by, and what may be shown of it."""

from dataclasses import dataclass, field
from typing import Final

import msgspec

#: Where the texts stand in what the owner of a subscription sends.
CERTIFICATE: Final = "/clientCertificate"
KEY: Final = "/clientKey"
AUTHORITIES: Final = "/caCertificate"

#: Characters of PEM, and certificates in it.
MAX_CERTIFICATE_TEXT: Final = 64 * 1024
MAX_KEY_TEXT: Final = 8 * 1024
MAX_CHAIN: Final = 10
MAX_AUTHORITIES: Final = 20


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """PEM texts, as they are used. Connections of different identities are never shared."""

    #: The client certificate, then those that lead to its authority; always with its key.
    certificate: str | None = None
    key: str | None = field(default=None, repr=False)
    #: The authorities that receivers' certificates may be of, instead of the system's.
    authorities: str | None = None


class CertificateFacts(msgspec.Struct, rename="camel", frozen=True):
    """What is shown of a certificate."""

    subject: str
    not_after: str
    fingerprint: str


class TlsFacts(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """What is shown of an identity: the client certificate, and the authorities trusted."""

    client_certificate: CertificateFacts | None = None
    ca_certificate: tuple[CertificateFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedIdentity:
    """An identity without faults, and what is shown of it."""

    identity: TlsIdentity
    facts: TlsFacts


_decoder: Final = msgspec.json.Decoder(TlsIdentity)
_facts_decoder: Final = msgspec.json.Decoder(TlsFacts)


def packed(identity: TlsIdentity) -> bytes:
    """The identity as bytes to be sealed."""
    return msgspec.json.encode(identity)


def unpacked(plain: bytes) -> TlsIdentity:
    """The identity that :func:`packed` was given."""
    return _decoder.decode(plain)


def written(facts: TlsFacts) -> bytes:
    """The facts as JSON."""
    return msgspec.json.encode(facts)


def read_facts(text: bytes | None) -> TlsFacts:
    """The facts that :func:`written` was given; without any, there is nothing to be shown."""
    return TlsFacts() if text is None else _facts_decoder.decode(text)
