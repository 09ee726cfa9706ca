"""What a look at a database finds that nobody has opened for work."""

from dataclasses import dataclass

__all__ = ["State"]


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
