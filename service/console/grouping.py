"""Dead letters by what they have in common: one receiver and one reason are one thing to mend."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.ports import DeadLetterCount


@dataclass(frozen=True, slots=True)
class Group:
    """Open dead letters of one subscription with one reason. Times are ms."""

    subscription_id: str
    reason: str
    count: int
    first_dead_at: int
    last_dead_at: int
    #: Error classes or status codes, with how often each came; the most frequent first.
    errors: tuple[tuple[str, int], ...]


def grouped(counts: Iterable[DeadLetterCount]) -> list[Group]:
    """The groups, the largest first."""
    found: dict[tuple[str, str], list[DeadLetterCount]] = {}
    for each in counts:
        found.setdefault((each.subscription_id, each.reason), []).append(each)
    groups = [_group(*key, members) for key, members in found.items()]
    return sorted(groups, key=lambda group: -group.count)


def _group(subscription_id: str, reason: str, members: list[DeadLetterCount]) -> Group:
    errors = [(_error(each), each.count) for each in members]
    return Group(
        subscription_id=subscription_id,
        reason=reason,
        count=sum(each.count for each in members),
        first_dead_at=min(each.first_dead_at for each in members),
        last_dead_at=max(each.last_dead_at for each in members),
        errors=tuple(sorted(errors, key=lambda error: -error[1])),
    )


def _error(count: DeadLetterCount) -> str:
    if count.status_code is not None:
        return f"HTTP {count.status_code}"
    return count.error_class or "no attempt"
