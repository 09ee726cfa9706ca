"""Looks at a file without opening it for work, whether or not a process has it open."""

from pathlib import Path

from service.ports import Clock
from service.store import keeping
from service.store.checkup import State
from service.store.revisions import head
from service.store.sqlite.migrating import revision
from service.store.sqlite.readers import Readers


def look(path: Path) -> State:
    """What state the file is in; it is neither made nor changed.

    Raises:
        StoreUnavailableError: it cannot be read, or is another program's.
    """
    return State(str(path), revision(path), head())


async def sealed_samples(path: Path, clock: Clock) -> list[tuple[bytes, str]]:
    """A few sealed values of a file at the wanted revision, with their contexts."""
    readers = Readers(path, clock)
    await readers.open()
    try:
        return await keeping.sealed_samples(readers)
    finally:
        await readers.close()
