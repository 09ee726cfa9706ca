"""Keeps a SQLite file to one process: a second one would break the single writer."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.ports import StoreInUseError, StoreUnavailableError


def hold(path: Path) -> int:
    """Lock the database file for this process; close the handle to give it back.

    The lock is the kernel's, on a file beside the database: it goes with the process, however that
    ends, and does not meet SQLite's own locks.

    Raises:
        StoreInUseError: another process has it.
        StoreUnavailableError: the folder of the file cannot be used, or nothing in it locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreUnavailableError(f"The database {path} cannot be opened: {error}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if not isinstance(error, BlockingIOError):  # as some file systems of a network have it
            raise StoreUnavailableError(
                f"The database {path} cannot be locked: {error}. Put it on a disk of this machine."
            ) from error
        raise StoreInUseError(
            f"Another Ringback process has {path} open, and a SQLite file serves one process. "
            "Stop that one, then run this again; or give this one another RINGBACK_DATABASE_URL."
        ) from None
    return handle


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes off the database file for a while; :func:`hold` says how."""
    handle = hold(path)
    try:
        yield
    finally:
        os.close(handle)
