"""What the store asks of a database, whichever it is: transactions for jobs, snapshots for reads.

A job may run more than once until it is committed: it keeps what it learns to itself until then.
In a database that is shared, others change rows between two statements of a job, unless it has
locked them. ``with_for_update`` says so where it matters; SQLite, whose one writer is alone,
leaves it out.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Executable, Table

from service.ports import Clock
from service.store.statements import Many, Row, Statement, Write

__all__ = [
    "Database",
    "Expected",
    "Job",
    "Leased",
    "Proof",
    "Reads",
    "Stretch",
    "Trace",
    "Tx",
    "UnexpectedError",
    "Use",
    "alone",
]

T = TypeVar("T")


class Use(Enum):
    """What a write is for: those of one use never wait for those of another."""

    ACCEPT = "accept"
    CLAIM = "claim"
    SETTLE = "settle"
    READ = "read"
    REST = "rest"


class Stretch(NamedTuple):
    """Event keys from ``low`` to before ``high``."""

    low: int
    high: int
    #: Whether rows go all at once, when their part is dropped; else one by one.
    is_whole: bool


class UnexpectedError(Exception):
    """What was written came out otherwise than was expected; nothing was kept."""


class Expected(NamedTuple):
    """Something to write, and how many rows its RETURNING gives; ``None``: however many."""

    write: Write
    gives: int | None = None


class Leased(NamedTuple):
    """What was leased."""

    #: Event key, subscription no, attempts, step, trigger and operation key of each.
    leases: list[Row]
    #: Key, id, type, operation id, sequence and body of their events, or of what dead letters kept.
    events: list[Row]
    #: The lanes that were looked into, where something is told at all.
    lanes: set[int]


class Tx(Protocol):
    """A transaction in progress."""

    #: The key of an entry of the audit log that it wrote: what a lost commit is known by.
    noted: int | None

    @property
    def now(self) -> int:
        """Its one time, in ms."""

    @property
    def is_shared(self) -> bool:
        """Whether others may change what it reads while it runs."""

    async def fetch(self, statement: Statement, **given: Any) -> list[Row]:
        """Run a compiled statement; the rows it returns."""

    async def aside(self, statement: Statement, **given: Any) -> list[Row]:
        """Run a compiled statement that reads, and locks nothing; the rows it returns.

        What it shows may be otherwise by the time that the job writes. Where nothing was written
        or locked yet it costs less than :meth:`fetch`.
        """

    async def each(self, statement: Many, rows: Sequence[Row], **given: Any) -> list[Row]:
        """Run a statement about many rows, in as many parts as need be; the rows it returns."""

    async def sql(self, text: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Run a statement given as text, with ``?`` for each argument; the rows it returns."""

    async def insert(
        self,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        conflict: str = "",
    ) -> list[Row]:
        """Insert many rows; what a RETURNING in ``conflict`` returns."""

    async def together(self, *writes: Write) -> list[int]:
        """Write what neither reads nor changes rows of each other, in one go where that is less.

        Returns how many rows the RETURNING of each gave; 0 where it has none.
        """

    async def only(self, *writes: Expected, trace: "Trace") -> None:
        """Write as :meth:`together` does, as all that the transaction locks and writes.

        Nothing else is asked of it any more. ``trace`` tells, where the answer is lost, whether it
        was kept.

        Raises:
            UnexpectedError: it came out otherwise, or others wrote what it was to write.
        """

    async def query(self, statement: Executable) -> list[dict[str, Any]]:
        """Run any SQLAlchemy statement, for the paths that are not hot; rows as dictionaries."""

    async def change(self, statement: Executable) -> int:
        """Run any SQLAlchemy change, for the paths that are not hot; how many rows it touched."""

    async def lease(self, lanes: Sequence[Row], until: int, token: int) -> "Leased":
        """Lease under a token what is due in these lanes.

        Each has its number, until when it is due, how much at most, and as what its subscription is
        remembered: version and time of it. Unless it is that, and open, the lane is left out; of
        ``None`` nothing is asked. Nothing is locked or written after it that was not before.
        """

    async def hold(self, names: Iterable[str]) -> set[str]:
        """Hold names until the transaction ends; those of them that another transaction holds."""

    def stay_open(self) -> None:
        """Let jobs join that are asked for in a moment, where there is one writer."""

    async def limit_waits(self) -> None:
        """From now on wait for no lock longer than a moment.

        Else the write raises :class:`service.ports.StoreBusyError`.
        """

    async def stretches(self, table: Table) -> list[Stretch]:
        """All keys there can be, oldest first, by how rows of the table are deleted."""


Job = Callable[[Tx], Awaitable[T]]
#: Whether what a statement wrote is there.
Trace = Callable[[Tx], Awaitable[bool]]
#: Whether what came of a job is there.
Proof = Callable[[Tx, T], Awaitable[bool]]


class Reads(Protocol):
    """What can be read from."""

    async def look(self, statement: Statement, **given: Any) -> list[Row]:
        """Run one reading statement, which is a snapshot by itself: a third of the cost.

        A parameter named ``now`` is the transaction's time.
        """


class Database(Reads, Protocol):
    """A database that is open."""

    async def glance(self, statement: Statement, **given: Any) -> list[Row]:
        """As :meth:`look`, for a statement that finds a few rows by an index."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes work with it at the same time."""

    @property
    def node(self) -> int:
        """The number that the keys of this process have in them, and those of no other."""

    @property
    def clock(self) -> Clock:
        """The time that its transactions go by, which is that of every process; once it is open."""

    async def open(self) -> None:
        """Connect and begin to take jobs."""

    async def close(self) -> None:
        """Finish the jobs that wait, then close every connection."""

    async def write(self, job: Job[T], use: Use = Use.REST, proof: Proof[T] | None = None) -> T:
        """Run ``job`` inside a write transaction; its result once that is durably committed.

        Where the connection was lost before the commit was answered ``proof`` decides; without it,
        what the job wrote into the audit log.

        Raises:
            UnknownCommitError: nobody knows whether it was committed.
            StoreUnavailableError: it was not.
        """

    def read(self) -> AbstractAsyncContextManager[Tx]:
        """A read transaction: one snapshot for all its statements. Keep it short."""

    async def recheck(self) -> None:
        """If a change was not taken, make sure that others are, by one that nobody asked for.

        Raises:
            StoreUnavailableError: they are not.
        """

    async def renew_parts(self, retention: int) -> int:
        """Make parts of tables for the time to come, or drop one older than ``retention`` ms."""


def alone(job: Job[T], otherwise: T, name: str = "chores") -> Job[T]:
    """``job``, or ``otherwise`` while another process does any of this name."""

    async def guarded(tx: Tx) -> T:
        return otherwise if await tx.hold((name,)) else await job(tx)

    return guarded
