"""Retention, done now: the store is opened for it as a sweeper of its own."""

from collections.abc import Callable

from service.domain import times
from service.ports.pruning import Past
from service.runtime.wiring import Opened, open_service
from service.settings import Settings
from service.store.pruning import PruneStore
from service.usecases.prune import Prune, Told

#: Whether to delete so much.
Agreed = Callable[[Past], bool]


async def prune(
    settings: Settings, retention: int | None, agreed: Agreed, told: Told
) -> tuple[Past, Past]:
    """Delete what is older than ``retention`` ms (``None``: than the settings say), if agreed.

    How much that was before and is after.
    """
    async with open_service(settings, frozenset({"sweeper"})) as opened:
        if settings.is_embedded:
            await opened.sweep.start()
        kept = times.seconds(settings.retention) if retention is None else retention
        work = _work(opened, kept)
        before = await work.past()
        after = await work.run(told) if agreed(before) else before
        await opened.stores.counts.flush()
        return before, after


def _work(opened: Opened, retention: int) -> Prune:
    stores = opened.stores
    steps = (
        lambda: stores.sweep.forget(retention),
        stores.lifetimes.strip,
        lambda: stores.lifetimes.remove_tombstones(retention),
        opened.administration.tenants.purge,
        stores.deliver.forget_counts,
        stores.traffic.forget,
        lambda: stores.sweep.renew_parts(retention),
    )
    database = opened.base.database
    return Prune(PruneStore(database), steps, retention, is_alone=not database.is_shared)
