"""TLS as single subscriptions have it: certificates of their own, authorities of their own."""

import asyncio
import functools
import os
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import Final
from weakref import WeakValueDictionary

from service.domain.certificates import TlsIdentity
from service.sender import contexts
from service.sender.fair_threads import FairThreads

#: Contexts kept, by whether they hold all of the system's authorities: 0.9 MB each, or 10 KB.
_MOST: Final = {True: 64, False: 1024}


class Credentials:
    """What TLS of one identity goes by. Connections are pooled by it: it is never anybody else's.

    Args:
        load: Makes the context; called in a thread when the first connection needs it.
        owner: Whose receiver that is.
        made: Called when it is made.
    """

    #: Whether another takes its place: its connections carry nothing more.
    retired = False

    def __init__(
        self,
        load: Callable[[], ssl.SSLContext],
        owner: str = "",
        made: Callable[["Credentials"], None] = lambda _: None,
    ) -> None:
        self.owner = owner
        self._load = load
        self._made = made
        self._context: asyncio.Future[ssl.SSLContext] | None = None

    async def context(self, threads: FairThreads) -> ssl.SSLContext:
        """The context, made if it is not yet.

        Raises:
            ssl.SSLError: TLS takes no such certificate.
        """
        if self._context is None:
            self._context = threads.run(self.owner, self._load)
            self._context.add_done_callback(self._take_note)
        # shielded: others may wait for it as well
        return await asyncio.shield(self._context)

    def _take_note(self, context: asyncio.Future[ssl.SSLContext]) -> None:
        if context.exception() is None:
            self._made(self)
        else:
            self._context = None


class Identities:
    """The credentials of identities; keeps those used last whose context is made.

    Args:
        let_go: Called when some were retired; closes what is open by them.
    """

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go = let_go
        #: Those that are made or that an attempt holds: a context costs time, and who cannot be
        #: connected to gets none, nor crowds anybody out.
        self._known: WeakValueDictionary[TlsIdentity, Credentials] = WeakValueDictionary()
        #: Those that are made, the one used last at the end, by what they hold in memory.
        self._kept: dict[bool, OrderedDict[Credentials, TlsIdentity]] = {
            large: OrderedDict() for large in _MOST
        }

    def credentials_of(self, identity: TlsIdentity, owner: str) -> Credentials:
        """The credentials of an identity, to be used for a receiver of ``owner``."""
        found = self._known.get(identity)
        if found is None:
            keep = functools.partial(self._keep, identity)
            found = Credentials(lambda: load(identity), owner, keep)
            self._known[identity] = found
        for kept in self._kept.values():
            if found in kept:
                kept.move_to_end(found)
        return found

    def _keep(self, identity: TlsIdentity, made: Credentials) -> None:
        large = identity.authorities is None and not contexts.is_system_small()
        kept = self._kept[large]
        kept[made] = identity
        if len(kept) <= _MOST[large]:
            return
        # Who has the most goes first: receivers of one owner do not crowd those of others out.
        owner = Counter(each.owner for each in kept).most_common(1)[0][0]
        old = next(each for each in kept if each.owner == owner)
        del self._known[kept.pop(old)]
        old.retired = True
        self._let_go()


def fault_of(identity: TlsIdentity) -> str | None:
    """Why TLS takes no such certificates, in words; ``None`` when it does."""
    try:
        _add(identity, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError as error:
        return reason_of(error)
    return None


def reason_of(error: ssl.SSLError) -> str:
    """What TLS says of a failure, in words: of an alert, what it is about."""
    words = (error.reason or "no reason given").replace("_", " ").lower()
    return words.rpartition(" alert ")[2]


def load(identity: TlsIdentity) -> ssl.SSLContext:
    """A context that verifies receivers, by the identity's own authorities or the system's.

    Raises:
        ssl.SSLError: TLS takes no such certificate.
    """
    context = contexts.restrained(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if identity.authorities is None:
        contexts.trust_system(context)
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
