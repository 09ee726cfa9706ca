"""The PostgreSQL database: a transaction a job, with a few connections for each use.

Several processes work with it at once, so jobs lock what they judge, in the same order everywhere:
names of idempotency keys, operations, subscriptions, deliveries, and the tenant's row last. A job
that another was in the way of runs once more. So does one whose connection was lost, as long as
nothing was committed; where that is not known, the proof of the job decides, or else its entry in
the audit log.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

from asyncpg import Connection
from asyncpg.exceptions import InsufficientPrivilegeError

from service.ports import Clock, StoreUnavailableError
from service.store.database import Job, Proof, Use
from service.store.postgres import compiling, faults, parting
from service.store.postgres.connections import (
    HOT,
    HOT_LIMITS,
    LIMITS,
    Address,
    Pool,
    of_transaction,
)
from service.store.postgres.doubt import Doubt
from service.store.postgres.faults import AgainError, Fault
from service.store.postgres.nodes import free_node, renew_node, take_node
from service.store.postgres.server_time import ServerTime
from service.store.postgres.tx import Look, PostgresTx
from service.store.statements import Row, Statement

T = TypeVar("T")

_logger = logging.getLogger(__name__)

#: Connections for each use, at most.
_SIZES: Final = {Use.ACCEPT: 1, Use.CLAIM: 1, Use.SETTLE: 1, Use.READ: 4, Use.REST: 2}
#: How often a job is run that others are in the way of; seconds before the second time, and twice
#: as long before each other.
_TRIES: Final = 5
_BACK_OFF: Final = 0.01
#: Seconds between two words with the server: what time it has, that this process still lives.
_TEND: Final = 10.0
#: Seconds that jobs have to end in when the database is closed.
_CLOSING: Final = 8.0

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
#: Of one statement, whose snapshot is taken once it is planned. One taken before shows no part that
#: was dropped meanwhile, and nothing of why it is not there.
_LOOKED: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
#: Goes in the same message as the BEGIN before it: it costs no way to the server and back.
_LIMITED: Final = {
    True: f"; {of_transaction(HOT_LIMITS)}",
    False: f"; {of_transaction(LIMITS)}",
}


class PostgresDatabase:
    """See :class:`service.store.database.Database`.

    The server is told the ``roles`` of this process. Transactions have the server's time, unless it
    is ``fixed``: then that of ``clock``.
    """

    #: Other processes work with it too.
    is_shared: Final = True
    #: Connections that a process opens, at most.
    connections: Final = sum(_SIZES.values())

    def __init__(
        self, url: str, clock: Clock, *, roles: Iterable[str] = (), fixed: bool = False
    ) -> None:
        self._address = Address.of(url, roles)
        self._clock = clock
        self._time: Clock = clock if fixed else ServerTime(clock)
        self._pool = Pool(self._address, _SIZES)
        self._doubt = Doubt(self.read)
        self._jobs: set[asyncio.Task[Any]] = set()
        self._tending: asyncio.Task[None] | None = None
        self._is_open = False
        #: Whether a change was not taken, and none was tried since just to see.
        self._is_doubted = False
        #: That it may not make parts, which is as true a minute later.
        self._is_told = False
        #: Parts of tables that could not go when it was their turn.
        self._late: list[str] = []
        self.node = 0

    @property
    def clock(self) -> Clock:
        """The server's time, as this process knows it."""
        return self._time

    async def open(self) -> None:
        """Connect, and take a number for the keys of this process."""
        self._is_open = True
        try:
            self.node = await self.write(take_node)
        except InsufficientPrivilegeError as error:
            raise faults.unavailable(error) from error
        self._tending = asyncio.create_task(self._tend(), name="store-tending")

    async def close(self) -> None:
        """Finish the jobs that run, then close every connection; what takes too long is cut off."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self._finish()
        self._is_open = False
        self._pool.abort()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def write(self, job: Job[T], use: Use = Use.REST, proof: Proof[T] | None = None) -> T:
        """Run ``job`` inside a write transaction; its result once that is durably committed."""
        self._check_open()
        # what a caller no longer waits for is finished all the same
        try:
            return await asyncio.shield(self._background(self._run(job, use, proof)))
        except StoreUnavailableError:
            self._is_doubted = True
            raise

    def read(self) -> AbstractAsyncContextManager[PostgresTx]:
        """A read transaction."""
        return self._reading(_SNAPSHOT)

    @asynccontextmanager
    async def _reading(self, begin: str) -> AsyncIterator[PostgresTx]:
        self._check_open()
        connection = await self._begun(Use.READ, begin)
        try:
            yield PostgresTx(connection, self._time.now())
        except Exception as error:
            told = _told(error, connection)
            if told is error:
                raise
            raise told from error
        finally:
            await asyncio.shield(self._background(self._pool.give_back(Use.READ, connection)))

    async def look(self, statement: Statement, **given: Any) -> list[Row]:
        """Run one reading statement."""
        self._check_open()

        async def ask(connection: Connection) -> list[Row]:
            now = self._time.now()
            return await PostgresTx(connection, now).fetch(statement, **{"now": now, **given})

        if self._address.is_pooled:  # outside of a transaction each message may go elsewhere
            async with self._reading(_LOOKED) as tx:
                return await tx.fetch(statement, **{"now": tx.now, **given})
        return await self._asked(ask)

    async def glance(self, statement: Statement, **given: Any) -> list[Row]:
        """Run one reading statement that finds a few rows by an index."""
        return await self.look(statement, **given)

    async def recheck(self) -> None:
        """If a change was not taken, make sure that others are."""
        if self._is_doubted:
            await self.write(lambda tx: renew_node(tx, self.node))
            self._is_doubted = False

    async def renew_parts(self, retention: int) -> int:
        """Make parts of tables for the time to come, or drop one older than ``retention`` ms."""
        try:
            return await parting.renew(self, self._address, retention, self._late)
        except InsufficientPrivilegeError as error:
            if not self._is_told:
                self._is_told = True
                _logger.warning(parting.NOT_ALLOWED, error)
            return 0

    async def _finish(self) -> None:
        if self._tending is not None:
            with suppress(StoreUnavailableError):
                await self.write(lambda tx: free_node(tx, self.node))
        self._is_open = False
        if self._jobs:
            await asyncio.wait(self._jobs)
        await self._pool.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailableError("The database is not open.")

    # --- writing

    async def _run(self, job: Job[T], use: Use, proof: Proof[T] | None) -> T:
        for number in range(_TRIES - 1):
            try:
                return await self._once(job, use, proof)
            except AgainError:
                await asyncio.sleep(_BACK_OFF * 2**number)
        try:
            return await self._once(job, use, proof)
        except AgainError as error:
            cause = error.__cause__ or error
            if faults.is_own_after_all(cause):
                raise cause from None
            raise faults.unavailable(cause) from cause

    async def _once(self, job: Job[T], use: Use, proof: Proof[T] | None) -> T:
        begins_late = use in HOT and not self._address.is_pooled
        connection = await (self._pool.take(use) if begins_late else self._begun(use, _BEGIN))
        try:
            tx = self._tx(connection, begins_late=begins_late)
            return await self._committed(connection, tx, job, proof)
        finally:
            await self._pool.give_back(use, connection)

    async def _committed(
        self, connection: Connection, tx: PostgresTx, job: Job[T], proof: Proof[T] | None
    ) -> T:
        try:
            await self._tell_time(tx)
            outcome = await job(tx)
            if tx.is_begun:
                await tx.identify()
        except Exception as error:
            if isinstance(error, TimeoutError):  # a rollback would not be answered either
                self._pool.lose(connection)
            raise _sorted(error) from error
        self._check_time(tx)
        if not tx.is_begun:
            return outcome
        try:
            said = await connection.execute("COMMIT")
        except Exception as error:
            if faults.is_refusal(error):
                raise _sorted(error) from error
            self._pool.lose(connection)  # else it is asked about on one as lost
            return await self._doubt.of_commit((outcome, proof, tx.noted), str(tx.number), error)
        if said != "COMMIT":
            raise StoreUnavailableError("The database rolled the change back.")
        return outcome

    def _tx(self, connection: Connection, *, begins_late: bool) -> PostgresTx:
        begins = (_BEGIN, partial(self._resolved, connection)) if begins_late else None
        clock = self._time if isinstance(self._time, ServerTime) else None
        return PostgresTx(connection, self._time.now(), begins=begins, clock=clock)

    async def _resolved(
        self, connection: Connection, pid: int, look: Look, error: Exception
    ) -> list[Row]:
        self._pool.lose(connection)  # else it is asked about on one as lost
        return await self._doubt.of_statement(pid, look, error)

    async def _tell_time(self, tx: PostgresTx) -> None:
        """See to it that it has the server's time."""
        if isinstance(self._time, ServerTime) and not self._time.is_fresh:
            await tx.hear()
            self._hear(tx)
            tx.now = tx.reckoned = self._time.now()

    def _check_time(self, tx: PostgresTx) -> None:
        """Hear what the server's time was when it began.

        Raises:
            AgainError: this process thought otherwise: its machine stood still, or the server's
            clock was set.
        """
        self._hear(tx)
        is_off = tx.begun is not None and abs(tx.begun - tx.reckoned) > compiling.OFF
        if is_off and isinstance(self._time, ServerTime):
            raise AgainError

    def _hear(self, tx: PostgresTx) -> None:
        if not isinstance(self._time, ServerTime) or tx.begun is None or tx.since is None:
            return
        self._time.heard(tx.begun, tx.since)

    # --- connections

    async def _begun(self, use: Use, begin: str) -> Connection:
        """A connection with a transaction begun; one that was lost meanwhile is made anew."""
        for _ in range(_TRIES):
            connection = await self._pool.take(use)
            try:
                await connection.execute(
                    begin + _LIMITED[use in HOT] if self._address.is_pooled else begin
                )
            except BaseException as error:
                connection.terminate()
                await self._pool.give_back(use, connection)
                if faults.sort(error) is Fault.UNAVAILABLE:
                    raise faults.unavailable(error) from error
                if faults.sort(error) is not Fault.LOST:
                    raise
            else:
                return connection
        raise StoreUnavailableError("Connections to the database are lost as soon as made.")

    async def _asked(self, ask: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """Ask outside of a transaction; once more where the connection was lost meanwhile."""
        for is_last in (False, True):
            connection = await self._pool.take(Use.READ)
            try:
                return await ask(connection)
            except Exception as error:
                told = _told(error, connection)
                if told is error:
                    raise
                if is_last or faults.sort(error) is not Fault.LOST:
                    raise told from error
            finally:
                await asyncio.shield(self._background(self._pool.give_back(Use.READ, connection)))
        raise StoreUnavailableError("The database could not be read.")

    def _background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._jobs.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._jobs.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited was told; nobody waits where he was cancelled

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND)
            try:
                await self.write(lambda tx: renew_node(tx, self.node))
            except StoreUnavailableError:
                continue
            except Exception as error:  # noqa: BLE001  without this word others get the number
                told = {"message": "The number of this process was not renewed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(told)


def _sorted(error: Exception) -> Exception:
    """What is raised for an error inside a transaction that was not committed."""
    faults.conceal(error)
    fault = faults.sort(error)
    if fault in (Fault.AGAIN, Fault.LOST):
        return AgainError()
    return faults.unavailable(error) if fault is Fault.UNAVAILABLE else error


def _told(error: Exception, connection: Connection) -> Exception:
    """What a reader is told: that the database is not available, or the error of his statement."""
    faults.conceal(error)
    if faults.sort(error) is Fault.OWN:
        return error
    if isinstance(error, TimeoutError):  # nobody knows when it would be free again
        connection.terminate()
    return StoreUnavailableError(
        f"The database could not be read: {str(error) or type(error).__name__}"
    )
