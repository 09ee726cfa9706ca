"""What results say of receivers, and what follows: circuits, recoveries, subscriptions given up.

A result that changes more than a count is written with the results themselves, and so is what is
told of it. Successes of receivers of which there is nothing else to say are summed in the worker
and written sorted, apart from results, about once a second, or when others who judge the same
receivers are no longer in the way: a crash costs what waits for that.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from service.domain import health as rules
from service.domain import ids, operational
from service.domain.health import Attempted, DisabledReason, Health, Sort
from service.domain.ids import KeyMaker
from service.domain.operational import Notice
from service.domain.retry import Dead, DeadReason, Delivered
from service.ports import Settlement
from service.store import auditing, burying, health, versions
from service.store.announcing import Announcer, lock_tenants, names_of
from service.store.burying import Corpse
from service.store.database import Tx

_Work = dict[int, list[Attempted]]
#: A result, and what it says of its receiver.
_Told = tuple[Sort, Settlement]


@dataclass(slots=True)
class Draft:
    """What results come to; it holds once their transaction is committed."""

    #: Successes that wait to be written.
    waiting: dict[int, Attempted] = field(default_factory=dict)
    #: Lanes that were judged, with what waited, and how they are now.
    judged: dict[int, Health] = field(default_factory=dict)
    #: Lanes whose subscriptions were deleted meanwhile.
    gone: set[int] = field(default_factory=set)
    #: Lanes that take deliveries again.
    recovered: set[int] = field(default_factory=set)
    #: Lanes whose circuit opens, and until when.
    opened: dict[int, int] = field(default_factory=dict)
    #: Lanes whose subscription is given up, and why.
    disabled: dict[int, DisabledReason] = field(default_factory=dict)
    #: Lanes in which something is due now, since somebody is told of something.
    told: frozenset[int] = frozenset()


class HealthBook:
    """What this process knows of receivers; without a ``breaker`` no circuit opens."""

    def __init__(self, announcer: Announcer, keys: KeyMaker, *, breaker: bool) -> None:
        self._announcer = announcer
        self._keys = keys
        self._breaker = breaker
        self._waiting: dict[int, Attempted] = {}
        #: Lanes for which a success is more than a count; ``None`` before they were looked up.
        self._unclean: set[int] | None = None
        #: Held from a draft until it is kept or dropped: drafts build on what is kept.
        self.turn = asyncio.Lock()

    async def draft(
        self,
        tx: Tx,
        kept: Sequence[Settlement] = (),
        dead: Sequence[Corpse] = (),
        *,
        are_clean: bool = False,
    ) -> Draft:
        """Judge results in the transaction that keeps them, and tell of it and of the dead.

        ``are_clean``: to none of these receivers a success is more than a count, as was just seen.
        """
        draft = Draft()
        batch = _by_lane(kept)
        if tx.is_shared:  # others may have judged meanwhile
            seen = set() if are_clean else await health.unclean(tx, batch)
            self._unclean = (self._unclean or set()) - batch.keys() | seen
        elif self._unclean is None:
            self._unclean = await health.unclean(tx)
        plain = {lane: done for lane, done in batch.items() if self._is_plain(lane, done)}
        draft.waiting = {lane: _taken(done) for lane, done in plain.items()}
        lanes = batch.keys() - plain.keys()
        work = {lane: self._work(lane, batch[lane]) for lane in lanes}
        notices = await self._judge(tx, draft, work)
        renewed, more = await self._close(tx, draft, kept)
        notices += more
        told = (*(each.tenant_id for each in notices), *(each.tenant_id for each in dead))
        await lock_tenants(tx, [*renewed, *told])
        for tenant in sorted(renewed):
            await versions.renew(tx, self._keys, tenant)
        draft.told = await burying.tell(tx, dead, self._announcer, notices)
        return draft

    async def catch_up(self, tx: Tx) -> Draft:
        """Judge what waits, without waiting for others who judge the same receivers."""
        await tx.limit_waits()
        draft = Draft()
        notices = await self._judge(tx, draft, {n: [done] for n, done in self._waiting.items()})
        await lock_tenants(tx, [each.tenant_id for each in notices])
        draft.told = await burying.tell(tx, (), self._announcer, notices)
        return draft

    def keep(self, draft: Draft) -> None:
        """Remember what came of a draft, now that it is committed."""
        unclean = self._unclean if self._unclean is not None else set()
        for lane, now in draft.judged.items():
            self._waiting.pop(lane, None)
            (unclean.discard if now.is_clean else unclean.add)(lane)
        for lane in draft.gone:
            self._waiting.pop(lane, None)
            unclean.discard(lane)
        for lane, done in draft.waiting.items():
            known = self._waiting.get(lane)
            self._waiting[lane] = done if known is None else rules.together(known, done)

    def is_well(self, lanes: set[int]) -> bool:
        """Whether nothing was in the way of these lanes when they were last looked at."""
        return self._unclean is None or self._unclean.isdisjoint(lanes)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._waiting

    def _is_plain(self, lane: int, done: Iterable[_Told]) -> bool:
        is_clean = self._unclean is not None and lane not in self._unclean
        return is_clean and all(sort is Sort.SUCCEEDED for sort, _ in done)

    def _work(self, lane: int, done: Iterable[_Told]) -> list[Attempted]:
        waiting = self._waiting.get(lane)
        each_done = (
            Attempted(sort, ids.key_time(each.claimed.token), silent=_is_silent(each))
            for sort, each in done
        )
        return [*([] if waiting is None else [waiting]), *each_done]

    async def _judge(self, tx: Tx, draft: Draft, work: _Work) -> list[Notice]:
        """Apply the rules to these lanes; what there is to tell."""
        before = await health.lock(tx, work)
        if not self._breaker:  # where circuits do not count, there is none that closes
            before = {n: rules.without_circuit(was) for n, was in before.items()}
        draft.gone = work.keys() - before.keys()
        draft.judged = {n: self._after(was, work[n], tx.now) for n, was in before.items()}
        await health.write(tx, draft.judged)
        judged = draft.judged.items()
        draft.recovered = {n for n, now in judged if before[n].trips and not now.trips}
        draft.opened = {n: now.open_until for n, now in judged if now.trips > before[n].trips}
        told = {n for n, now in judged if now.told is not before[n].told}
        names = await names_of(tx, told) if told else {}
        return [_turn(names[lane], draft.judged[lane]) for lane in sorted(told) if lane in names]

    async def _close(
        self, tx: Tx, draft: Draft, kept: Sequence[Settlement]
    ) -> tuple[set[str], list[Notice]]:
        """Disable what is gone, or was given up; whose configuration that changes, what to tell."""
        renewed: set[str] = set()
        notices = []
        for lane, (tenant, reason, silent) in sorted(_closing(draft, kept, tx.now).items()):
            name = await burying.disable(tx, lane, reason)
            if name is None:
                continue
            renewed.add(tenant)
            draft.disabled[lane] = reason
            who, why = (tenant, auditing.SYSTEM), json.dumps({"reason": reason.value})
            await auditing.note(tx, self._keys, who, "subscription.disabled", name, why)
            if not silent:
                notices.append(operational.disabled(tenant, name, reason))
        return renewed, notices

    def _after(self, was: Health, work: Iterable[Attempted], now: int) -> Health:
        for done in work:
            was = rules.after(was, done, now, breaker=self._breaker)
        return was


def _by_lane(kept: Iterable[Settlement]) -> dict[int, list[_Told]]:
    """The results that say something of their receivers."""
    batch: dict[int, list[_Told]] = {}
    for each in kept:
        sort = rules.sort_of(each.outcome)
        if sort is not None:
            batch.setdefault(each.claimed.ref.subscription_no, []).append((sort, each))
    return batch


def _taken(done: Sequence[_Told]) -> Attempted:
    """Results that were all taken, as one."""
    latest = ids.key_time(max([each.claimed.token for _, each in done]))
    return Attempted(Sort.SUCCEEDED, latest, len(done), silent=_is_silent(done[0][1]))


def _is_silent(each: Settlement) -> bool:
    return operational.is_operational(each.claimed.event_type, each.claimed.operation_id)


def _turn(name: tuple[str, str], now: Health) -> Notice:
    return operational.failing(*name, now) if now.told else operational.recovered(*name)


def _closing(
    draft: Draft, kept: Iterable[Settlement], now: int
) -> dict[int, tuple[str, DisabledReason, bool]]:
    """The lanes to disable: tenant, why, and whether nobody is to be told."""
    found: dict[int, tuple[str, DisabledReason, bool]] = {}
    if not draft.judged and all(isinstance(each.verdict, Delivered) for each in kept):
        return found  # as it is nearly always
    for each in kept:
        lane = each.claimed.ref.subscription_no
        is_gone = isinstance(each.verdict, Dead) and each.verdict.reason is DeadReason.GONE
        judged = draft.judged.get(lane)
        if not is_gone and (judged is None or not rules.is_hopeless(judged, now)):
            continue
        reason = DisabledReason.GONE if is_gone else DisabledReason.FAILING
        _, known, silent = found.get(lane, ("", reason, True))
        if known is DisabledReason.GONE:
            reason = known
        found[lane] = (each.claimed.tenant_id, reason, silent and _is_silent(each))
    return found
