"""What the server's errors mean for a transaction."""

from enum import Enum
from typing import Final

import asyncpg
from asyncpg import exceptions

from service.ports import StoreBusyError, StoreUnavailableError, UnknownCommitError

#: How a constraint begins by which what is of a part to come is refused until the part is there.
PROOF: Final = "without_"
_LEFT_BEHIND: Final = (
    ". What was to make its part was stopped and left {}: a sweeper takes that away as soon as one "
    "runs (ringback serve --roles sweeper)"
)


class AgainError(Exception):
    """The job has to run once more; nothing of it was kept."""


class Fault(Enum):
    """What is to be done about an error."""

    #: The connection is gone; nothing was committed unless COMMIT was under way.
    LOST = "lost"
    #: Another transaction was in the way: the job sees what it did when it runs once more.
    AGAIN = "again"
    #: The server cannot take anything now.
    UNAVAILABLE = "unavailable"
    #: It is the statement's own.
    OWN = "own"


#: All that the driver raises when it talks with a server, or cannot. What ends a session may come
#: just as the next statement leaves: that is an ``InternalClientError``.
RAISED: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_AGAIN: Final = (
    exceptions.DeadlockDetectedError,
    exceptions.SerializationError,
    # two inserted the same at once: the second finds the first when it looks again
    exceptions.UniqueViolationError,
    # a part of the table was made for rows that were on the way into the rest
    exceptions.CheckViolationError,
    # a migration went by
    exceptions.InvalidCachedStatementError,
)
_LOST: Final = (
    exceptions.PostgresConnectionError,
    exceptions.AdminShutdownError,
    exceptions.CrashShutdownError,
    exceptions.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_UNAVAILABLE: Final = (
    exceptions.CannotConnectNowError,
    exceptions.FeatureNotSupportedError,  # a standby begins no transaction that writes
    exceptions.InsufficientResourcesError,
    exceptions.LockNotAvailableError,
    exceptions.QueryCanceledError,
    exceptions.ReadOnlySQLTransactionError,
    exceptions.PostgresSystemError,
    exceptions.InvalidAuthorizationSpecificationError,
    exceptions.InvalidCatalogNameError,
    exceptions.ProtocolViolationError,  # a pooler has no connection to the server
    TimeoutError,
)


def sort(error: BaseException) -> Fault:
    """What an error means."""
    if isinstance(error, _AGAIN):
        return Fault.AGAIN
    if isinstance(error, _UNAVAILABLE):
        return Fault.UNAVAILABLE
    # a wrong argument is an InterfaceError too, but the driver says so in its own class
    if isinstance(error, _LOST) and not isinstance(error, ValueError | TypeError):
        return Fault.LOST
    return Fault.OWN


def is_own_after_all(error: BaseException) -> bool:
    """Whether an error that comes however often a job is run is the statement's own."""
    return isinstance(error, exceptions.IntegrityConstraintViolationError) and not _refusing(error)


def is_refusal(error: BaseException) -> bool:
    """Whether the server itself says that it failed; what ends the session may come after."""
    return isinstance(error, asyncpg.PostgresError) and error.severity_en == "ERROR"


def is_doubtful(error: BaseException) -> bool:
    """Whether a statement that is a transaction by itself may have been committed."""
    is_told = isinstance(error, asyncpg.PostgresError)  # what ended the session or the server, too
    return not is_refusal(error) and (is_told or sort(error) is not Fault.OWN)


def conceal(error: BaseException) -> None:
    """Take out of an error what it names of a row or a value: its text is for the log, too.

    What hangs on a table and keeps it from being dropped is no row.
    """
    is_of_us = isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
    if is_of_us or isinstance(error, asyncpg.DataError):  # whose words quote the value
        error.args = ("a value is not of its column's type, or out of its range",)
    is_harmless = isinstance(error, asyncpg.DependentObjectsStillExistError)
    if isinstance(error, asyncpg.PostgresError) and not is_harmless:
        error.detail = None


def unavailable(error: BaseException) -> StoreUnavailableError:
    """What the caller is told; the server's words name no value of ours."""
    said = str(error) or type(error).__name__
    if refusing := _refusing(error):
        said += _LEFT_BEHIND.format(refusing)
    is_busy = isinstance(error, exceptions.LockNotAvailableError)
    kind = StoreBusyError if is_busy else StoreUnavailableError
    return kind(f"The database did not take the change: {said}")


def unknown(error: BaseException) -> UnknownCommitError:
    """What the caller is told where a commit may have taken place."""
    said = str(error) or type(error).__name__
    return UnknownCommitError(f"The database did not say whether it took the change: {said}")


def _refusing(error: BaseException) -> str | None:
    """The constraint of ours for a part to come that an error is about."""
    name: str | None = getattr(error, "constraint_name", None)
    is_one = isinstance(error, exceptions.CheckViolationError) and (name or "").startswith(PROOF)
    return name if is_one else None
