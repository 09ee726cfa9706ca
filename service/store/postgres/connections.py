"""Connections to the server: how they are made, and a pool of them.

Limits are given when connecting, so that no session has a state of its own. Behind a pooler that
lends a server's connection for one transaction (PgBouncer; ``?pgbouncer=true`` in the URL) they go
with each transaction instead, and no statement is kept prepared.
"""

import asyncio
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg import Connection
from asyncpg.protocol import protocol as codecs

from service.ports import StoreUnavailableError
from service.store.database import Use
from service.store.postgres import faults

_FLAG: Final = "pgbouncer"
#: How a pooler refuses what is given when connecting, and what is to be done about it.
_POOLER: Final = "unsupported startup parameter"
ADD_FLAG: Final = f"A pooler stands before it: add {_FLAG}=true to RINGBACK_DATABASE_URL."
_LEAVE_OUT: Final = (
    "The pooler before it does not take that from RINGBACK_DATABASE_URL: leave it out there, and "
    "give it to the user (ALTER ROLE ... SET ...)."
)
APPLICATION: Final = "ringback"
#: What no statement, no wait for a lock and no idle transaction may take longer than, in ms. What
#: they are for is short: this is when something is wrong. Compiling plans never pays here. What is
#: a transaction by itself says nothing of its kind: it is of this one.
LIMITS: Final = {
    "statement_timeout": "10000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
    "jit": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
}
#: What is accepted, claimed and settled is looked up by indexes alone, and in their order: only as
#: far as it is wanted. A plan that is kept from when a table was nearly empty would read all of it
#: long after it has grown. And its plans are made once: the server would make them anew for each
#: group that is small, which costs more than to carry them out.
HOT: Final = frozenset((Use.ACCEPT, Use.CLAIM, Use.SETTLE))
HOT_LIMITS: Final = {
    **LIMITS,
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
}
#: Seconds, and how often, that the server asks after a client whose whole machine may be gone: else
#: what it held stays locked for hours.
_ALIVE: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
#: A commit that is answered is safe: only ``off`` would let it be answered before. Said by the
#: session, since what the server's own configuration says may change at any time.
_SURE: Final = (
    "set_config('synchronous_commit', "
    "coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), {})"
)
SURE_OF_SESSION: Final = f"SELECT {_SURE.format('false')}"
#: Seconds after which a server that does not answer is given up.
_CONNECT: Final = 5.0
_ANSWER: Final = 12.0
_ROLLBACK: Final = 2.0
#: Seconds that anyone waits for a connection of the pool.
_PATIENCE: Final = 10.0
#: Seconds within which a connection was heard of that is taken to be there when another is lost.
_HEARD: Final = 1.0
#: What the kernel does about a server that is gone without a word, as after a firewall forgot the
#: connection: it asks after it (seconds, and how often), and gives it up when so many milliseconds
#: nothing that was sent is acknowledged. A server that is only slow does so at once, as long as its
#: buffers have room: one that stands still amid a large statement is given up as well.
_PROBES: Final = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 5_000,
}
#: Statements that each connection keeps prepared.
_PREPARED: Final = 500
#: Of each value in an array the driver asks two abstract base classes whether it is an array too,
#: which takes twice as long as to encode it. No array of ours is of any other kind than these.
codecs.IterableABC = (list, tuple)


def of_transaction(limits: Mapping[str, str]) -> str:
    """The statement that gives limits to the transaction it is in, and makes its commit safe."""
    given = (f"set_config('{name}', '{value}', true)" for name, value in limits.items())
    return f"SELECT {', '.join((*given, _SURE.format('true')))}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, and whether a pooler stands before it."""

    dsn: str
    is_pooled: bool
    #: What the server calls our sessions: ``ringback``, and the roles of a process that serves.
    application: str = APPLICATION

    @classmethod
    def of(cls, url: str, roles: Iterable[str] = ()) -> "Address":
        """Of a ``postgresql://`` URL, whose flag is ``true`` or ``false`` where it is there."""
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True)
        flags = {value for name, value in given if name == _FLAG}
        if not flags <= {"true", "false"}:
            raise ValueError(f"{_FLAG} is neither true nor false")
        query = urlencode([(name, value) for name, value in given if name != _FLAG], safe="/")
        application = f"{APPLICATION} {','.join(sorted(roles))}".strip()
        return cls(urlunsplit(parts._replace(query=query)), "true" in flags, application)

    @property
    def name(self) -> str:
        """How it is shown to people: without user and password."""
        parts = urlsplit(self.dsn)
        host = parts.netloc.rpartition("@")[2]
        return f"postgresql://{host}{parts.path}"

    async def connect(
        self, limits: Mapping[str, str] | None = None, *, is_hot: bool = False
    ) -> Connection:
        """A new connection, with limits other than the usual ones if they are given.

        Then its statements may also take as long as they need.

        Raises:
            StoreUnavailableError: there is none to be had.
        """
        usual = HOT_LIMITS if is_hot else LIMITS
        own = usual if limits is None else limits
        settings = {} if self.is_pooled else {**_ALIVE, **own, "application_name": self.application}
        try:
            made = await asyncpg.connect(
                self.dsn,
                timeout=_CONNECT,
                command_timeout=_ANSWER if limits is None else None,
                statement_cache_size=0 if self.is_pooled else _PREPARED,
                max_cached_statement_lifetime=0,
                server_settings=settings,
            )
            return await self._made_sure(made)
        except (*faults.RAISED, ValueError) as error:
            said = str(error) or type(error).__name__
            text = f"The database {self.name} cannot be reached: {said}"
            if _POOLER in said:
                text += f". {_LEAVE_OUT if self.is_pooled else ADD_FLAG}"
            raise StoreUnavailableError(text) from error

    async def _made_sure(self, connection: Connection) -> Connection:
        """The connection, whose commits are safe when they are answered.

        A pooler's says so in each transaction: the next may be on another one of the server's.
        """
        try:
            _probe(connection)
            if not self.is_pooled:
                await connection.execute(SURE_OF_SESSION, timeout=_CONNECT)
        except BaseException:
            connection.terminate()
            raise
        return connection


def _probe(connection: Connection) -> None:
    """Let the kernel watch over a connection to another machine, as far as this system can."""
    transport = connection._transport  # noqa: SLF001  the driver shows its socket nowhere else
    own = transport.get_extra_info("socket")
    if own.family not in (socket.AF_INET, socket.AF_INET6):
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):
            own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Pool:
    """The connections of a process, each made when it is first needed, anew when it was lost.

    They are for all uses, those that are hot and the others, but each use has a number of its own,
    so that none waits for another.
    """

    def __init__(self, address: Address, sizes: Mapping[Use, int]) -> None:
        self._address = address
        self._sizes = dict(sizes)
        self._free = {use: asyncio.Semaphore(size) for use, size in sizes.items()}
        #: The one used last is used next: it knows most statements. Each with the loop's time at
        #: which it was heard of last.
        self._idle: dict[bool, list[tuple[Connection, float]]] = {True: [], False: []}
        self._lent: set[Connection] = set()
        self._is_closed = False

    async def take(self, use: Use) -> Connection:
        """A connection for one's own, until it is given back.

        Raises:
            StoreUnavailableError: none was free for long, or none can be made.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._free[use].acquire()
        except TimeoutError:
            raise StoreUnavailableError("All connections to the database are busy.") from None
        try:
            connection = await self._connected(is_hot=use in HOT)
        except BaseException:
            self._free[use].release()
            raise
        self._lent.add(connection)
        return connection

    async def _connected(self, *, is_hot: bool) -> Connection:
        if self._is_closed:
            raise StoreUnavailableError("The database is closed.")
        while self._idle[is_hot]:
            connection, _ = self._idle[is_hot].pop()
            if not connection.is_closed():
                return connection
        return await self._address.connect(is_hot=is_hot)

    async def give_back(self, use: Use, connection: Connection) -> None:
        """Take a connection back; whatever is under way on it is rolled back."""
        try:
            if not connection.is_closed() and connection.is_in_transaction():
                await connection.execute("ROLLBACK", timeout=_ROLLBACK)
        except Exception as error:
            connection.terminate()
            if faults.sort(error) is faults.Fault.OWN:
                raise
        finally:
            self._lent.discard(connection)
            if connection.is_closed():
                self.lose(connection)
            else:
                self._idle[use in HOT].append((connection, asyncio.get_running_loop().time()))
            self._free[use].release()

    def lose(self, connection: Connection) -> None:
        """Cut a connection that was lost, or that the server does not answer on.

        What ended it may have ended others, unseen: to find that out of each by itself takes as
        long as the server has to answer. So those go that were not heard of lately. To make one
        anew costs little, where they were well after all.
        """
        connection.terminate()
        since = asyncio.get_running_loop().time() - _HEARD
        for kind, idle in self._idle.items():
            for each, heard in idle:
                if heard <= since:
                    each.terminate()
            self._idle[kind] = [each for each in idle if each[1] > since]

    async def close(self) -> None:
        """Disconnect, as each comes back."""
        for use, size in self._sizes.items():
            for _ in range(size):
                await self._free[use].acquire()
        for idle in self._idle.values():
            while idle:
                with suppress(*faults.RAISED):
                    await idle.pop()[0].close(timeout=_CONNECT)

    def abort(self) -> None:
        """Cut every connection that is left, and make none any more."""
        self._is_closed = True
        for idle in self._idle.values():
            for connection, _ in idle:
                connection.terminate()
            idle.clear()
        for connection in self._lent:
            connection.terminate()
