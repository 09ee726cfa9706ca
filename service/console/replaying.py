"""What people say of a bulk replay besides what it is about."""

from dataclasses import replace
from typing import Final

from service.console.visits import Form, Visit
from service.domain.errors import Refusal
from service.ports import Replayed, ReplayPlan
from service.usecases.replay import Replays
from service.web.answers import Answer

#: Deliveries per second that a replay may be held to; the empty word is no limit.
RATES: Final = ("", "1", "10", "100", "1000")
_LONGEST_NOTE: Final = 1024


def paced(plan: ReplayPlan, form: Form) -> ReplayPlan:
    """The plan with the pace and the note that a form gives."""
    rate, note = form.one("rate"), form.one("note")[:_LONGEST_NOTE]
    per_second = float(rate) if rate in RATES and rate else None
    return replace(plan, rate_per_second=per_second, note=note or None)


async def begin(visit: Visit, replays: Replays, plan: ReplayPlan, back: str) -> Answer | Refusal:
    """Begin it at the pace of the form; leads on to its operation, or ``back`` to who sees none."""
    run = await replays.start(visit.principal, paced(plan, visit.form))
    if isinstance(run, Replayed):
        raise TypeError("A replay without an Idempotency-Key was replayed.")
    return run if isinstance(run, Refusal) else visit.started(run.operation.id, back)
