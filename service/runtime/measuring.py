"""Puts together what a process tells of itself."""

from typing import TYPE_CHECKING

from service import __version__
from service.telemetry import Queue, Snapshot, Work

if TYPE_CHECKING:
    from service.runtime.wiring import Opened


async def snapshot(opened: "Opened") -> Snapshot:
    """The numbers of now."""
    deliver = opened.deliver
    rounds = {"sweeper": opened.sweep.age, "worker": opened.feeding.age}
    return Snapshot(
        version=__version__,
        work=_work(opened),
        in_flight=deliver.in_flight,
        slots_free=deliver.free if "worker" in opened.roles else None,
        followers=opened.watch.followers + opened.looks.lookers,
        rounds={role: age for role, age in rounds.items() if age is not None},
        queue=await _queue(opened) if "sweeper" in opened.roles else None,
    )


def _work(opened: "Opened") -> Work:
    measures = opened.deliver.measures
    return Work(
        events_accepted=opened.accept.accepted,
        attempts=measures.attempts,
        errors=measures.errors,
        late_results=measures.late,
        expired_leases=opened.sweep.expired_leases,
        attempt=measures.attempt,
        lag=measures.lag,
        delivery=measures.delivery,
        commits={"accept": opened.accept.committed, "settle": measures.settled},
        answers=opened.times.by_route,
    )


async def _queue(opened: "Opened") -> Queue | None:
    seen = await opened.observe.standing()
    if seen is None:
        return None
    looked = opened.base.clock.monotonic() - seen.at
    return Queue(seen.backlog, seen.queue_age, seen.circuits_open, looked)
