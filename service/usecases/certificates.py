"""Certificates of a subscription: checked as they come, sealed, and shown as facts only."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from service.domain.certificates import (
    AUTHORITIES,
    CERTIFICATE,
    CheckedIdentity,
    TlsFacts,
    TlsIdentity,
    packed,
    read_facts,
    unpacked,
    written,
)
from service.domain.errors import Fault
from service.domain.subscription import Subscription, tls_context
from service.ports import Clock, Vault

#: Texts of a :class:`TlsIdentity` by name, as far as something is said of them.
Given = Mapping[str, str | None]

#: Why TLS does not take an identity, in words; ``None`` when it does.
CheckIdentity = Callable[[TlsIdentity], str | None]

_CLIENT: Final = frozenset({"certificate", "key"})
_NONE: Final = TlsIdentity()


class Certificates:
    """Client certificates with their keys, and authorities of the owner's own.

    Each of the two halves is checked when something is said of it, and otherwise left alone: an
    authority can be changed though the client certificate has expired.
    """

    def __init__(self, vault: Vault, check: CheckIdentity, clock: Clock) -> None:
        self._vault = vault
        self._check = check
        self._clock = clock

    def changed(self, now: Subscription, given: Given) -> dict[str, bytes | None] | list[Fault]:
        """Members of ``now`` as they are to be; or all faults of what is given."""
        if not given:
            return {}
        # what is replaced need not open: its encryption key may be lost
        before = _NONE if _leaves_nothing(given) else self._opened(now)
        old = CheckedIdentity(before, read_facts(now.tls_facts))
        new = self._checked(_wanted(old.identity, given))
        if isinstance(new, list):
            return new
        client = old if given.keys().isdisjoint(_CLIENT) else new
        trusted = new if "authorities" in given else old
        return self._sealed(
            now.id,
            replace(client.identity, authorities=trusted.identity.authorities),
            TlsFacts(client.facts.client_certificate, trusted.facts.ca_certificate),
        )

    def _sealed(self, name: str, identity: TlsIdentity, facts: TlsFacts) -> dict[str, bytes | None]:
        if identity == _NONE:
            return {"tls": None, "tls_facts": None}
        sealed = self._vault.seal(packed(identity), tls_context(name))
        return {"tls": sealed, "tls_facts": written(facts)}

    def _opened(self, now: Subscription) -> TlsIdentity:
        if now.tls is None:
            return _NONE
        return unpacked(self._vault.open(now.tls, tls_context(now.id)))

    def _checked(self, wanted: TlsIdentity) -> CheckedIdentity | list[Fault]:
        checked = self._vault.read_identity(wanted, self._clock.now())
        if isinstance(checked, list):
            return checked
        identity = checked.identity
        halves = {
            CERTIFICATE: replace(identity, authorities=None),
            AUTHORITIES: TlsIdentity(authorities=identity.authorities),
        }
        said = {where: self._check(half) for where, half in halves.items()}
        faults = [
            Fault(where, f"TLS does not take it: {why}.") for where, why in said.items() if why
        ]
        return faults or checked


def plain_fault(subscription: Subscription) -> Fault | None:
    """The fault of certificates that nothing would ever use."""
    is_plain = subscription.url.lower().startswith("http:")
    if subscription.tls is None or not is_plain:
        return None
    return Fault(
        "/url",
        "must begin with https://: this subscription has certificates, and only TLS uses them. To "
        "do without, send null as 'clientCertificate' and 'caCertificate'.",
    )


def _leaves_nothing(given: Given) -> bool:
    """Whether nothing that is there is needed any more."""
    is_whole = "key" in given or given.get("certificate", "") is None
    return is_whole and {"certificate", "authorities"} <= given.keys()


def _wanted(before: TlsIdentity, given: Given) -> TlsIdentity:
    """What is to be checked: the halves of which something is said, each of them whole."""
    wanted = TlsIdentity(authorities=given.get("authorities"))
    if given.keys().isdisjoint(_CLIENT):
        return wanted
    certificate = given.get("certificate", before.certificate)
    # without a certificate its key is of no use: it goes with it, unless it was sent
    kept = None if certificate is None else before.key
    return replace(wanted, certificate=certificate, key=given.get("key", kept))
