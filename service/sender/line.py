"""All that lives on one event loop: the pool of connections, the resolver, the deadlines."""

import ssl

from service.domain.certificates import TlsIdentity
from service.domain.targets import TargetPolicy
from service.sender.attempt import Attempt
from service.sender.connector import GuardedConnector
from service.sender.deadline import Deadlines
from service.sender.exchange import Route
from service.sender.identities import Identities
from service.sender.lookups import Lookup
from service.sender.message import Message
from service.sender.pool import Pool
from service.sender.resolver import GuardedResolver


class Line:
    """The way out; made on the loop that uses it."""

    def __init__(
        self, policy: TargetPolicy, lookup: Lookup, connections: int, tls: ssl.SSLContext
    ) -> None:
        self.deadlines = Deadlines()
        connector = GuardedConnector(policy, GuardedResolver(policy, lookup))
        self._pool = Pool(connector.connect, connections)
        self._identities = Identities(self._pool.close_retired)
        self._tls = tls

    async def send(self, message: Message, tls: TlsIdentity | None, attempt: Attempt) -> None:
        """Send the message, and take the answer into ``attempt``.

        Raises:
            ssl.SSLError: TLS takes no such certificate.
            NotConnectedError, ConnectionLostError, BadAnswerError, AnswerTooLongError,
            TargetRefusedError: no status came.
        """
        context = await self._context(tls) if attempt.secure else None
        # connections are pooled by their context: no identity meets another's
        exchange = await self._pool.take(Route(attempt.host, attempt.port, context), attempt)
        try:
            await exchange.ask(message, attempt)
        finally:
            self._pool.put(exchange)

    async def close(self) -> None:
        """Close every connection."""
        self.deadlines.close()
        await self._pool.close()

    async def _context(self, identity: TlsIdentity | None) -> ssl.SSLContext:
        return self._tls if identity is None else await self._identities.context_of(identity)
