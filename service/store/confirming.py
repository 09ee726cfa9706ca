"""Keys that were looked up a moment ago: whether they are in force when what they allow is written.

Whoever posts events has his key looked up now and then only. That it is in force still is seen by
the statement that writes the events, so a revoked key is dead at once, for every process.
"""

from collections.abc import Iterable
from typing import Final

from service.ports import AcceptRequest
from service.store.database import Tx
from service.store.moving import MovedError
from service.store.schema import api_keys
from service.store.statements import Change, Many

_LASTS: Final = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"
#: By its present text or by the one before, each looked up by its own index: PostgreSQL's hot path
#: gathers from no two of them, and would read all keys for a condition of both.
_IN_FORCE: Final = Many(
    "SELECT v.column1 FROM {rows} WHERE coalesce("
    f"(SELECT 1 FROM api_keys WHERE hash = v.column1 AND {_LASTS}), "
    "(SELECT 1 FROM api_keys WHERE previous_hash = v.column1 AND previous_until > :now "
    f"AND {_LASTS})) = 1",
    api_keys.c.hash,
)


def look(group: Iterable[AcceptRequest], dead: set[bytes], now: int) -> Change:
    """Which of the keys of a group are in force, those left out that are known to be ``dead``."""
    keys = {each.credential for each in group if each.credential is not None} - dead
    return Change(_IN_FORCE, [(key,) for key in sorted(keys)], {"now": now})


async def judge(tx: Tx, asked: Change, found: int, dead: set[bytes]) -> None:
    """See to it that all keys are in force that were asked about; ``found`` so many are.

    Raises:
        MovedError: some are not. They are in ``dead`` now; what they would allow must not be kept.
    """
    if found == len(asked.rows):
        return
    living = {row[0] for row in await tx.each(asked.statement, asked.rows, **asked.given)}
    dead |= {row[0] for row in asked.rows} - living
    raise MovedError
