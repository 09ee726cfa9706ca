"""What a look at a database finds that nobody has opened for work."""

from dataclasses import dataclass

__all__ = ["Server", "State"]


@dataclass(frozen=True, slots=True)
class Server:
    """What a server tells of itself and of who works with the database."""

    #: As the server numbers it: 160004.
    version: int
    #: Bytes of the database.
    size: int
    #: Connections that are in use, and that may be: of its own, this user's or this database's.
    used: int
    most: int
    #: Connections that a process opens, and how many processes there were half a minute ago.
    each: int
    processes: int
    #: What the processes do that have a connection now; ``None``: a pooler tells of none.
    roles: frozenset[str] | None
    #: Whether it follows another, and takes no change itself.
    is_standby: bool
    #: The user, and whether it may make and drop the parts of tables; ``None``: there are none yet.
    user: str
    may_part: bool | None
    #: The tables and sequences that the user may not work with.
    denied: tuple[str, ...] = ()
    #: The oldest part of a table that should have been dropped for more than a day.
    overdue: str | None = None
    #: What refuses rows of today, left behind by a process that was to make their part.
    refusing: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What was found."""

    #: How the database is shown to people.
    name: str
    #: The revision of its schema; ``None`` when there is no schema yet.
    revision: str | None
    #: The revision that this version works with.
    wanted: str
    #: Milliseconds by which its clock is ahead of ours; ``None`` where it has no other.
    ahead: float | None = None
    #: Its settings that let it answer a commit before that is safe.
    careless: tuple[str, ...] = ()
    #: Where there is one.
    server: Server | None = None
