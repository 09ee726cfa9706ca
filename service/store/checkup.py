"""Looks at a database without opening it for work, whether or not a process has it open."""

from dataclasses import dataclass
from pathlib import Path

from service.ports import Clock
from service.store import keeping, migrate
from service.store.readers import Readers


@dataclass(frozen=True, slots=True)
class State:
    """What was found."""

    #: How the database is shown to people.
    name: str
    #: The revision of its schema; ``None`` when there is no schema yet.
    revision: str | None
    #: The revision that this version works with.
    wanted: str


def look(path: Path) -> State:
    """What state the file is in; it is neither made nor changed.

    Raises:
        StoreUnavailableError: it cannot be read, or is another program's.
    """
    return State(str(path), migrate.revision(path), migrate.head())


async def sealed_samples(path: Path, clock: Clock) -> list[tuple[bytes, str]]:
    """A few sealed values of a file at the wanted revision, with their contexts."""
    readers = Readers(path, clock)
    await readers.open()
    try:
        return await keeping.sealed_samples(readers)
    finally:
        await readers.close()
