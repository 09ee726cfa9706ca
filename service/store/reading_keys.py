"""Reads of the public keys that sign."""

from typing import Final

from sqlalchemy import bindparam, or_, select

from service.store.database import Database
from service.store.schema import subscription_secrets, subscriptions
from service.store.statements import Statement

# in the order of the keys, which are random: it tells nothing of whose or how old they are
_ALL: Final = (
    select(subscription_secrets.c.public_key)
    .distinct()
    .where(
        subscription_secrets.c.public_key > bindparam("after"),
        or_(
            subscription_secrets.c.expires_at.is_(None),
            subscription_secrets.c.expires_at > bindparam("now"),
        ),
    )
    .order_by(subscription_secrets.c.public_key)
    .limit(bindparam("limit"))
)
_EVERY: Final = Statement(_ALL)
_OF_ONE: Final = Statement(
    _ALL.join(subscriptions, subscriptions.c.no == subscription_secrets.c.subscription_no).where(
        subscriptions.c.id == bindparam("name")
    )
)


class PublicKeyReads:
    """See :class:`service.ports.PublicKeyStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def public_keys(self, subscription: str | None, after: str, limit: int) -> list[str]:
        """Keys behind ``after``, each once, in an order of their own."""
        place = {"after": after, "limit": limit}
        if subscription is None:
            rows = await self._database.look(_EVERY, **place)
        else:
            rows = await self._database.look(_OF_ONE, **place, name=subscription)
        return [key for (key,) in rows]
