"""The operation as it is shown (contract, section 4.2)."""

import re
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw, UnsetType

from service.api.links import Links
from service.domain import times
from service.domain.operation import Operation, Status, is_end
from service.domain.second_try import is_retryable
from service.domain.subscription import Subscription
from service.ports import ReplayRun

#: Seconds between two polls, as we ask for them; less than the minimum only costs both sides.
_POLL_RECOMMENDED: Final = 5
_POLL_MINIMUM: Final = 1
_POLL_MAXIMUM: Final = 60
#: Polls in the time that an operation is expected to take: often enough to see its end soon.
_POLLS: Final = 20


class PollInterval(msgspec.Struct, frozen=True):
    """How often to ask, in seconds."""

    recommended: int
    minimum: int


class OperationLinks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to go from here; only moves that are possible now."""

    self: str
    events: str
    stream: str
    websocket: str
    cancel: str | None = None
    retry: str | None = None


class WebhookOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An operation's own subscription; its secret only where it is shown this once."""

    registered: Literal[True]
    subscription_id: str
    events: tuple[str, ...]
    secret: str | None = None


class OperationCreated(
    msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True
):
    """The answer to a new operation: a producer can hand it to its own client as it is."""

    operation_id: str
    type: str | None = None
    status: str
    client_job_id: str | None = None
    created_at: str
    status_url: str
    estimated_completion: str | None = None
    poll_interval: PollInterval
    webhook: WebhookOut | UnsetType = UNSET
    retry_of: str | None = None
    links: OperationLinks


class OperationOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An operation; the producer's own JSON keeps its bytes."""

    operation_id: str
    type: str | None = None
    client_job_id: str | None = None
    status: str
    progress: Raw | UnsetType = UNSET
    sequence: int
    created_at: str
    started_at: str | None = None
    updated_at: str
    completed_at: str | None = None
    failed_at: str | None = None
    cancelled_at: str | None = None
    #: Seconds, to the millisecond.
    duration: float | None = None
    estimated_completion: str | None = None
    expires_at: str | None = None
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    warnings: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    retry_of: str | None = None
    status_url: str
    poll_interval: PollInterval | None = None
    links: OperationLinks


class ReplayOut(OperationOut, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The operation of a bulk replay, and what it is about."""

    dry_run: bool
    matched: int | None = None


#: The member that holds the time of each end.
_END_MEMBERS: Final = {
    Status.COMPLETED: "completed_at",
    Status.COMPLETED_WITH_ERRORS: "completed_at",
    Status.FAILED: "failed_at",
    Status.CANCELLED: "cancelled_at",
}


def created(
    operation: Operation, webhook: Subscription | None, secret: str | None, links: Links
) -> OperationCreated:
    """What the producer of a new operation gets."""
    return OperationCreated(
        operation_id=operation.id,
        type=operation.type,
        status=operation.status.value,
        client_job_id=operation.client_job_id,
        created_at=times.render(operation.created_at),
        status_url=links.operation(operation.id),
        estimated_completion=_time(operation.estimated_at),
        poll_interval=poll_interval(operation),
        webhook=UNSET if webhook is None else _webhook(webhook, secret),
        retry_of=operation.retry_of,
        links=_links(operation, links),
    )


def _webhook(webhook: Subscription, secret: str | None) -> WebhookOut:
    return WebhookOut(
        registered=True, subscription_id=webhook.id, events=webhook.event_types, secret=secret
    )


def shown(operation: Operation, links: Links) -> OperationOut:
    """The operation as every reader gets it."""
    ended = {}
    if operation.ended_at is not None:
        ended[_END_MEMBERS[operation.status]] = times.render(operation.ended_at)
    return OperationOut(
        operation_id=operation.id,
        type=operation.type,
        client_job_id=operation.client_job_id,
        status=operation.status.value,
        progress=_raw(operation.progress),
        sequence=operation.sequence,
        created_at=times.render(operation.created_at),
        started_at=_time(operation.started_at),
        updated_at=times.render(operation.updated_at),
        **ended,
        duration=_duration(operation),
        estimated_completion=_time(operation.estimated_at),
        expires_at=_time(operation.expires_at),
        result=_raw(operation.result),
        error=_raw(operation.error),
        warnings=_raw(operation.warnings),
        metadata=_raw(operation.metadata),
        retry_of=operation.retry_of,
        status_url=links.operation(operation.id),
        poll_interval=None if is_end(operation.status) else poll_interval(operation),
        links=_links(operation, links),
    )


def replay_shown(run: ReplayRun, links: Links) -> ReplayOut:
    """The operation of a bulk replay that was just begun."""
    members = msgspec.structs.asdict(shown(run.operation, links))
    return ReplayOut(**members, dry_run=run.plan.dry_run, matched=run.matched)


def poll_interval(operation: Operation) -> PollInterval:
    """How often to ask for this one; the same in all its answers, so that they stay the same."""
    recommended = _POLL_RECOMMENDED
    if operation.expected_ms is not None:
        fair = round(operation.expected_ms / 1000 / _POLLS)
        recommended = min(max(fair, _POLL_MINIMUM), _POLL_MAXIMUM)
    return PollInterval(recommended, _POLL_MINIMUM)


def result_url(operation: Operation) -> str | None:
    """Where the result of a completed operation is, fit for ``Location``; ``None``: it is here.

    Only an absolute URL or path counts. What is not ASCII is percent-encoded, as in a URI.
    """
    if operation.status is not Status.COMPLETED or operation.result is None:
        return None
    try:
        url = _result.decode(operation.result).url
    except (msgspec.DecodeError, RecursionError, OverflowError):
        return None
    if not isinstance(url, str) or _ADDRESS.fullmatch(url) is None:
        return None
    written = quote(url, safe=_ASCII)
    return written if len(written) <= _LONGEST_ADDRESS else None


class _Result(msgspec.Struct):
    url: Any = None


_result = msgspec.json.Decoder(_Result)
#: No spaces and controls, which would end a header; no backslash, which browsers take for a slash;
#: no path of two slashes, which names another host.
_ADDRESS: Final = re.compile(r"(https?://[^/\\\s]|/(?!/))[^\\\s\x00-\x20\x7f-\x9f]*", re.IGNORECASE)
#: What every recipient should take (RFC 9110, 4.1).
_LONGEST_ADDRESS: Final = 8_000
_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))


def _links(operation: Operation, links: Links) -> OperationLinks:
    own = links.operation(operation.id)
    return OperationLinks(
        self=own,
        events=f"{own}/events",
        stream=f"{own}/stream",
        websocket=links.websocket(operation.id),
        cancel=None if is_end(operation.status) else f"{own}/cancel",
        retry=f"{own}/retry" if is_retryable(operation) else None,
    )


def _time(at: int | None) -> str | None:
    return None if at is None else times.render(at)


def _duration(operation: Operation) -> float | None:
    """From the start, or else from the beginning, to the end."""
    if operation.ended_at is None:
        return None
    begun = operation.created_at if operation.started_at is None else operation.started_at
    # by the clocks of earlier versions some ended before they began
    return max(operation.ended_at - begun, 0) / 1000


def _raw(member: bytes | None) -> Raw | UnsetType:
    return UNSET if member is None else Raw(member)
