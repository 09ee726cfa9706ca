"""A certificate authority for tests: makes certificates of servers and of clients."""

import datetime as dt
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, in PEM."""

    certificate: str
    key: str

    def private(self) -> ec.EllipticCurvePrivateKey:
        """The private key itself."""
        key = serialization.load_pem_private_key(self.key.encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def file(self, folder: Path) -> Path:
        """Both in one file."""
        path = folder / "pair.pem"
        path.write_text(self.certificate + self.key)
        return path


@dataclass(frozen=True)
class Authority:
    """A root, or an intermediate under another."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @classmethod
    def make(
        cls,
        name: str = "Test Root",
        parent: Self | None = None,
        key: CertificateIssuerPrivateKeyTypes | None = None,
    ) -> Self:
        key = key or ec.generate_private_key(ec.SECP256R1())
        made = _builder(name, key.public_key(), parent.certificate.subject if parent else None)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return cls(made.sign(parent.key if parent else key, hashes.SHA256()), key)

    @classmethod
    def weak(cls, parent: Self) -> Self:
        """One whose key is shorter than TLS takes."""
        return cls.make("Weak", parent, rsa.generate_private_key(65537, 1024))  # noqa: S505  on purpose

    @property
    def pem(self) -> str:
        return pem_of(self.certificate)

    def server(
        self, *, end: dt.timedelta = HOUR, key: CertificateIssuerPrivateKeyTypes | None = None
    ) -> Pair:
        """For hooks.example and 127.0.0.1, until ``end`` from now."""
        names = [x509.DNSName("hooks.example"), x509.IPAddress(ip_address("127.0.0.1"))]
        key = key or ec.generate_private_key(ec.SECP256R1())
        made = _builder("hooks.example", key.public_key(), self.certificate.subject, end)
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Pair(pem_of(made.sign(self.key, hashes.SHA256())), key_pem(key))

    def client(
        self,
        name: str = "acme",
        *,
        end: dt.timedelta = HOUR,
        start: dt.timedelta = -HOUR,
        key: CertificateIssuerPrivateKeyTypes | None = None,
        usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> Pair:
        """For a client of that name, from ``start`` to ``end`` from now."""
        own = key or ec.generate_private_key(ec.SECP256R1())
        made = _builder(name, own.public_key(), self.certificate.subject, end, start)
        if usage is not None:
            made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return Pair(pem_of(made.sign(self.key, hashes.SHA256())), key_pem(own))

    def requiring(self, server: Pair, folder: Path) -> ssl.SSLContext:
        """A server's TLS that takes only clients of this authority."""
        context = serving(server, folder)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.pem)
        return context


def serving(server: Pair, folder: Path) -> ssl.SSLContext:
    """A server's TLS that asks for no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.file(folder))
    return context


def _builder(
    name: str,
    key: CertificatePublicKeyTypes,
    issuer: x509.Name | None = None,
    end: dt.timedelta = HOUR,
    start: dt.timedelta = -HOUR,
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(start, end - HOUR))
        .not_valid_after(now + end)
    )


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: CertificateIssuerPrivateKeyTypes) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
