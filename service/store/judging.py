"""Judge: what a group of requests comes to, before it is written."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.domain.acceptance import Accepted, Planner, Verdict
from service.domain.errors import Refusal, key_ended, still_running
from service.ports import AcceptRequest, Answer, Retried
from service.store import moving, once, retrying
from service.store.database import Tx


@dataclass(slots=True)
class Work:
    """What one group comes to, before it is written."""

    planner: Planner
    #: Tenant and ``Idempotency-Key`` of requests that another process is about.
    running: set[once.TenantKey]
    answers: list[Answer] = field(default_factory=list)
    kept: list[once.KeptAnswer] = field(default_factory=list)
    #: The requests that changed something and want that in the audit log.
    noted: list[AcceptRequest] = field(default_factory=list)

    def moves(self) -> list[moving.Move]:
        """The operations that change."""
        return [(self.planner.before(each), each) for each in self.planner.changed_operations()]


Answers = dict[tuple[str, str], tuple[bytes, bytes]]


async def judge_all(
    tx: Tx, work: Work, group: Iterable[AcceptRequest], dead: set[bytes], answers: Answers
) -> None:
    """Judge these requests in order: those of keys that are ``dead``, and by answers once given."""
    for request in group:
        is_dead = request.credential in dead
        work.answers.append(key_ended() if is_dead else await _judge(tx, work, request, answers))


async def _judge(tx: Tx, work: Work, request: AcceptRequest, answers: Answers) -> Answer:
    only = request.once
    if only is not None:
        if (request.tenant_id, only.key) in work.running:
            return still_running(only.key)
        kept = answers.get((request.tenant_id, only.key))
        if kept is not None:
            return once.judge(only, *kept)
    result: list[Verdict] | Retried | Refusal
    if request.retry is None:
        result = _take(work.planner, request)
    else:
        result = await retrying.retry(tx, work.planner, request.tenant_id, request.retry)
    if request.note is not None and _is_new(result):
        work.noted.append(request)
    answer = None if only is None or isinstance(result, Refusal) else only.render(result)
    if only is not None and answer is not None:
        row = (request.tenant_id, only.key, only.fingerprint, answer, tx.now)
        work.kept.append(row)
        # the same request once more in this group is answered like one that comes later
        answers[request.tenant_id, only.key] = (only.fingerprint, answer)
    return result


def _take(planner: Planner, request: AcceptRequest) -> list[Verdict]:
    tenant, guard = request.tenant_id, request.guard
    return [
        each if isinstance(each, Refusal) else planner.take(tenant, each, guard)
        for each in request.events
    ]


def _is_new(result: list[Verdict] | Retried | Refusal) -> bool:
    """Whether the request changed something."""
    if isinstance(result, list):
        return any(isinstance(each, Accepted) and not each.duplicate for each in result)
    return isinstance(result, Retried) and result.made
