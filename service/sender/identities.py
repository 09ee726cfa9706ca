"""TLS as single subscriptions have it: certificates of their own, authorities of their own."""

import asyncio
import os
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import Final

from service.domain.certificates import TlsIdentity

#: Contexts kept, by whether they hold the system's authorities: 0.9 MB each, or about 10 KB.
_MOST: Final = {True: 64, False: 1024}


class IdentityContext(ssl.SSLContext):
    """TLS as one identity has it. Connections are pooled by it, so it is never anybody else's."""

    #: Whether another takes its place: its connections carry nothing more.
    retired = False


_Made = asyncio.Future[IdentityContext]


class Identities:
    """Makes contexts in threads, each once, and keeps those used last.

    Args:
        let_go: Called when a context was retired; closes what is open by it.
    """

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go = let_go
        self._made: dict[bool, OrderedDict[TlsIdentity, _Made]] = {
            trusting: OrderedDict() for trusting in _MOST
        }

    async def context_of(self, identity: TlsIdentity) -> IdentityContext:
        """The context of an identity.

        Raises:
            ssl.SSLError: TLS takes no such certificate.
        """
        trusting = identity.authorities is None
        known = self._made[trusting]
        made = known.get(identity)
        if made is None:
            made = known[identity] = self._begin(identity, known)
        known.move_to_end(identity)
        if len(known) > _MOST[trusting]:
            known.popitem(last=False)[1].add_done_callback(self._retire)
        # shielded: others may wait for it as well
        return await asyncio.shield(made)

    def _begin(self, identity: TlsIdentity, known: OrderedDict[TlsIdentity, _Made]) -> _Made:
        def forget(failed: _Made) -> None:
            if failed.exception() is not None and known.get(identity) is failed:
                del known[identity]

        made = asyncio.get_running_loop().run_in_executor(None, load, identity)
        made.add_done_callback(forget)
        return made

    def _retire(self, made: _Made) -> None:
        if made.exception() is None:
            made.result().retired = True
            self._let_go()


def fault_of(identity: TlsIdentity) -> str | None:
    """Why TLS takes no such certificates, in words; ``None`` when it does."""
    try:
        _add(identity, IdentityContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError as error:
        return reason_of(error)
    return None


def reason_of(error: ssl.SSLError) -> str:
    """What TLS says of a failure, in words: of an alert, what it is about."""
    words = (error.reason or "no reason given").replace("_", " ").lower()
    return words.rpartition(" alert ")[2]


def load(identity: TlsIdentity) -> IdentityContext:
    """A context that verifies receivers, by the identity's own authorities or the system's.

    Raises:
        ssl.SSLError: TLS takes no such certificate.
    """
    context = IdentityContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if identity.authorities is None:
        context.load_default_certs()
    _add(identity, context)
    return context


def _add(identity: TlsIdentity, context: ssl.SSLContext) -> None:
    if identity.authorities is not None:
        context.load_verify_locations(cadata=identity.authorities)
        # whatever is named is trusted: an intermediate as well, or one receiver's certificate
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if identity.certificate is not None and identity.key is not None:
        with _file_of(identity.certificate + identity.key) as path:
            context.load_cert_chain(path)


@contextmanager
def _file_of(text: str) -> Iterator[str]:
    """A file for as long as it is read: a private key comes into TLS in no other way."""
    in_memory = hasattr(os, "memfd_create")  # elsewhere on the disk, for its owner's eyes only
    with os.fdopen(os.memfd_create("tls"), "w") if in_memory else NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}" if in_memory else file.name
