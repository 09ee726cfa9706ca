"""All that lives on one event loop: the pool of connections, the resolver, the deadlines."""

import ssl

from service.domain.certificates import TlsIdentity
from service.domain.targets import TargetPolicy
from service.sender.attempt import Attempt
from service.sender.connector import GuardedConnector
from service.sender.deadline import Deadlines
from service.sender.exchange import Route
from service.sender.fair_threads import FairThreads
from service.sender.identities import Credentials, Identities
from service.sender.lookups import Lookup
from service.sender.message import Message
from service.sender.owners import owner_of
from service.sender.pool import Pool
from service.sender.resolver import GuardedResolver


class Line:
    """The way out; made on the loop that uses it."""

    def __init__(
        self, policy: TargetPolicy, lookup: Lookup, connections: int, tls: ssl.SSLContext
    ) -> None:
        self.deadlines = Deadlines()
        self._threads = FairThreads()
        connector = GuardedConnector(policy, GuardedResolver(policy, lookup), self._threads)
        self._pool = Pool(connector.connect, connections)
        self._identities = Identities(self._pool.close_retired)
        self._credentials = Credentials(lambda: tls)

    async def send(self, message: Message, tls: TlsIdentity | None, attempt: Attempt) -> None:
        """Send the message, and take the answer into ``attempt``.

        Raises:
            ssl.SSLError: TLS takes no such certificate.
            NotConnectedError, ConnectionLostError, BadAnswerError, AnswerTooLongError,
            TargetRefusedError: no status came.
        """
        credentials = self._credentials_for(tls, attempt) if attempt.secure else None
        # connections are pooled by their credentials: no identity meets another's
        exchange = await self._pool.take(Route(attempt.host, attempt.port, credentials), attempt)
        try:
            await exchange.ask(message, attempt)
        finally:
            self._pool.put(exchange)

    async def close(self) -> None:
        """Close every connection."""
        self.deadlines.close()
        await self._pool.close()
        self._threads.close()

    def _credentials_for(self, identity: TlsIdentity | None, attempt: Attempt) -> Credentials:
        if identity is None:
            return self._credentials
        return self._identities.credentials_of(identity, owner_of(attempt.host))
