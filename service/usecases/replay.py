"""Replay: one delivery again, or many by filter as an operation of their own."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from service.domain import event as events
from service.domain import ids
from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.errors import Refusal
from service.domain.ids import DeliveryRef, KeyMaker
from service.domain.operation import REPLAY_TYPE, Operation, Status
from service.ports import (
    Clock,
    Dice,
    Once,
    Principal,
    Replayed,
    ReplayPlan,
    ReplayRun,
    ReplayStep,
    ReplayStore,
    StoreUnavailableError,
    Waker,
)
from service.usecases.accept import Accept
from service.usecases.reporting import report

#: Deliveries reopened in one transaction.
_CHUNK: Final = 500
#: Seconds between two looks at what runs, and between two progress events; for no longer does one
#: go on that finds little among much, so that others have their turn.
_PERIOD: Final = 1.0


class Replays:
    """Reopens deliveries on request, and carries bulk replays through."""

    def __init__(
        self,
        store: ReplayStore,
        accept: Accept,
        waker: Waker,
        keys: KeyMaker,
        chance: tuple[Clock, Dice],
    ) -> None:
        self._store = store
        self._accept = accept
        self._waker = waker
        self._keys = keys
        self._clock, self._dice = chance
        self._started = asyncio.Event()
        self._budgets: dict[int, _Budget] = {}

    async def one(
        self, principal: Principal, ref: DeliveryRef, trigger: Trigger, once: Once | None = None
    ) -> DeliveryRef | Refusal | Replayed:
        """Reopen one delivery; it is due at once."""
        result = await self._store.replay_one(
            principal.tenant_id, ref, trigger, principal.key_id, once
        )
        if isinstance(result, DeliveryRef):
            self._waker.wake([ref.subscription_no])
        return result

    async def start(
        self, principal: Principal, plan: ReplayPlan, once: Once | None = None
    ) -> ReplayRun | Refusal | Replayed:
        """Begin a bulk replay; its operation shows how far it is."""
        now = self._clock.now()
        key = self._keys.next(now)
        operation = Operation(
            key=key,
            tenant_id=principal.tenant_id,
            id=ids.keyed("op", key, self._dice.bytes(4)),
            type=REPLAY_TYPE,
            created_at=now,
            updated_at=now,
            described=True,
        )
        # a dry run finds out itself; the store counts dead letters as it writes the replay down
        counts = plan.only != "dead" and not plan.dry_run
        matched = await self.count(principal, plan) if counts else None
        result = await self._store.start_replay(operation, plan, principal.key_id, once, matched)
        self._started.set()
        return result

    async def count(self, principal: Principal, plan: ReplayPlan) -> int | None:
        """How many deliveries a plan is about now; ``None`` where that takes an operation."""
        return await self._store.count_replay(principal.tenant_id, plan)

    async def cancel_delivery(
        self, principal: Principal, ref: DeliveryRef
    ) -> DeliveryStatus | Refusal:
        """Take an open delivery out of the queue."""
        result = await self._store.cancel_delivery(principal.tenant_id, ref, principal.key_id)
        if isinstance(result, DeliveryStatus):  # in an ordered lane the next may go
            self._waker.wake([ref.subscription_no])
        return result

    async def discard(self, principal: Principal, ref: DeliveryRef) -> Refusal | None:
        """Delete a dead letter."""
        return await self._store.discard(principal.tenant_id, ref, principal.key_id)

    # --- carrying bulk replays through

    async def run(self) -> None:
        """Carry bulk replays through until cancelled."""
        while True:
            self._started.clear()
            try:
                running = await self._store.running_replays()
                for each in running:
                    await self._try(each)
            except StoreUnavailableError:
                running = []
            busy = any(each.operation.key in self._budgets for each in running)
            await self._pause(_PERIOD / 10 if busy else _PERIOD)

    async def _try(self, run: ReplayRun) -> None:
        """Advance one bulk replay; the others go on when it fails."""
        try:
            await self._advance(run)
        except StoreUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001  tried again at the next look
            report("A bulk replay failed", error)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._started.wait(), seconds)
        except TimeoutError:
            return

    async def _advance(self, run: ReplayRun) -> None:
        """Do what the rate allows now, then say how far it is."""
        now = self._clock.monotonic()
        budget = self._budgets.setdefault(run.operation.key, _Budget(now, now))
        if run.operation.status is Status.PENDING:
            await self._say(run, "STARTED")
        # counting reaches no receiver, so nobody is to be spared
        rate = None if run.plan.dry_run else run.plan.rate_per_second
        allowed = budget.allowance(rate, now)
        step = ReplayStep(run, frozenset(), finished=False)
        while allowed > 0 and not step.finished and self._clock.monotonic() - now < _PERIOD:
            before = step.run.replayed
            step = await self._store.step_replay(step.run, min(allowed, _CHUNK))
            allowed -= step.run.replayed - before
            budget.spend(step.run.replayed - before)
            self._waker.wake(step.lanes)
        if step.finished:
            await self._finish(step.run)
        elif now - budget.told_at >= _PERIOD:
            budget.told_at = now
            await self._say(step.run, "STATUS_UPDATE", progress=_progress(step.run))

    async def _finish(self, run: ReplayRun) -> None:
        """First the event, then the note: a crash between the two only says it again."""
        done = run.replayed + run.skipped
        if run.plan.dry_run:
            run = replace(run, matched=done, replayed=0)
        result = {
            "matched": done if run.matched is None else run.matched,
            "replayed": run.replayed,
            "skipped": run.skipped,
            "dryRun": run.plan.dry_run,
        }
        # none is left, whatever was counted before; of none at all there is no share
        progress = {"current": done, "total": done, "percentage": 100.0}
        await self._say(run, "COMPLETED", progress=progress, result=result)
        await self._store.finish_replay(run)
        self._budgets.pop(run.operation.key, None)

    async def _say(
        self, run: ReplayRun, kind: str, *, progress: object = None, result: object = None
    ) -> None:
        # refused when the operation was cancelled meanwhile, which is as good
        operation = run.operation
        own = events.own_event(
            kind, operation.id, operation_type=REPLAY_TYPE, progress=progress, result=result
        )
        await self._accept.events(operation.tenant_id, [own])


@dataclass(slots=True)
class _Budget:
    """What a rate still allows: it grows with time, up to a second's worth."""

    filled_at: float
    told_at: float
    tokens: float = 1.0

    def allowance(self, rate: float | None, now: float) -> int:
        """How many may be reopened now."""
        if rate is None:
            return 20 * _CHUNK  # then others have their turn
        self.tokens = min(self.tokens + (now - self.filled_at) * rate, max(1.0, rate))
        self.filled_at = now
        return int(self.tokens)

    def spend(self, count: int) -> None:
        """Take what was reopened off the allowance."""
        self.tokens -= count


def _progress(run: ReplayRun) -> object:
    done = run.replayed + run.skipped
    if run.matched is None:
        return {"current": done}
    return {"current": done, "total": run.matched}
