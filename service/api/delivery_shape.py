"""Deliveries, their attempts and dead letters as they are shown (contract, section 4.4)."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from service.domain import ids, times
from service.domain.ids import DeliveryRef
from service.ports import (
    AttemptView,
    DeadLetterCount,
    DeadLetterView,
    DeliveryView,
    UndeliveredView,
)
from service.usecases.try_subscription import Trial


class AttemptOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One attempt. The last four members are absent when the worker died in the middle of it."""

    id: str
    number: int
    trigger: str
    started_at: str
    duration_ms: float | None = None
    status_code: int | None = None
    error_class: str | None = None
    message: str | None = None
    next_attempt_at: str | None = None
    url: Raw | UnsetType = UNSET
    request: Raw | UnsetType = UNSET
    response: Raw | UnsetType = UNSET
    timings: Raw | UnsetType = UNSET


class TrialOut(AttemptOut, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The attempt of a test, and the event that was made for it."""

    event: Raw


class DeliveryOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One delivery; ``attempts`` is their number in lists and all of them in a single one."""

    id: str
    event_id: str
    event_type: str
    subscription_id: str
    operation_id: str | None = None
    status: str
    attempts: int | list[AttemptOut]
    attempt_count: int
    created_at: str
    next_attempt_at: str | None = None
    waits_for_delivery_id: str | None = None
    finished_at: str | None = None


class LastOutcome(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the last attempt ended."""

    status_code: int | None = None
    error_class: str | None = None
    message: str | None = None


class DeadLetterOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One dead letter with its event as it was."""

    id: str
    delivery_id: str
    subscription_id: str
    event_id: str
    event_type: str
    operation_id: str | None = None
    sequence: int | None = None
    reason: str
    state: str
    attempts: int
    last_outcome: LastOutcome
    dead_at: str
    resolved_at: str | None = None
    replays: int
    event: Raw


class CountOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Open dead letters with one subscription, reason and error."""

    subscription_id: str
    reason: str
    error_class: str | None = None
    status_code: int | None = None
    count: int
    first_dead_at: str
    last_dead_at: str


class UndeliveredOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An event that a subscription has not got, and why."""

    event_id: str
    event_type: str
    operation_id: str | None = None
    sequence: int | None = None
    created_at: str
    status: str
    reason: str | None = None
    delivery_id: str | None = None
    event: Raw


_members: Final = msgspec.json.Decoder(dict[str, Raw])


def delivery_shown(view: DeliveryView, attempts: list[AttemptView] | None = None) -> DeliveryOut:
    """A delivery, with its attempts where they were read."""
    return DeliveryOut(
        id=ids.delivery_id(view.ref),
        event_id=view.event_id,
        event_type=view.event_type,
        subscription_id=view.subscription_id,
        operation_id=view.operation_id,
        status=view.status.value,
        attempts=(
            view.attempts
            if attempts is None
            else [attempt_shown(view.ref, each) for each in attempts]
        ),
        attempt_count=view.attempts,
        created_at=times.render(ids.key_time(view.ref.event_key)),
        next_attempt_at=_time(view.due_at),
        waits_for_delivery_id=None if view.behind is None else ids.delivery_id(view.behind),
        finished_at=_time(view.finished_at),
    )


def attempt_shown(ref: DeliveryRef, view: AttemptView) -> AttemptOut:
    """One attempt of a delivery."""
    return AttemptOut(**_attempt(ref, view))


def trial_shown(trial: Trial) -> TrialOut:
    """The attempt of a test."""
    return TrialOut(**_attempt(trial.ref, trial.attempt), event=Raw(trial.event))


def dead_letter_shown(view: DeadLetterView) -> DeadLetterOut:
    """A dead letter."""
    return DeadLetterOut(
        id=ids.dead_letter_id(view.ref),
        delivery_id=ids.delivery_id(view.ref),
        subscription_id=view.subscription_id,
        event_id=view.event_id,
        event_type=view.event_type,
        operation_id=view.operation_id,
        sequence=view.sequence,
        reason=view.reason,
        state=view.state,
        attempts=view.attempts,
        last_outcome=LastOutcome(view.status_code, view.error_class, view.message),
        dead_at=times.render(view.dead_at),
        resolved_at=_time(view.resolved_at),
        replays=view.replays,
        event=Raw(view.body),
    )


def count_shown(count: DeadLetterCount) -> CountOut:
    """A line of the summary."""
    return CountOut(
        subscription_id=count.subscription_id,
        reason=count.reason,
        error_class=count.error_class,
        status_code=count.status_code,
        count=count.count,
        first_dead_at=times.render(count.first_dead_at),
        last_dead_at=times.render(count.last_dead_at),
    )


def undelivered_shown(view: UndeliveredView) -> UndeliveredOut:
    """A pair without a successful delivery."""
    event = view.event
    return UndeliveredOut(
        event_id=event.id,
        event_type=event.type,
        operation_id=event.operation_id,
        sequence=event.sequence,
        created_at=times.render(event.created_at),
        status=view.status,
        reason=view.reason,
        delivery_id=None if view.ref is None else ids.delivery_id(view.ref),
        event=Raw(event.body),
    )


def _attempt(ref: DeliveryRef, view: AttemptView) -> dict[str, Any]:
    detail = {} if view.detail is None else _members.decode(view.detail)
    return {
        "id": ids.attempt_id(ref, view.number),
        "number": view.number,
        "trigger": view.trigger.value,
        "started_at": times.render(view.started_at),
        "duration_ms": None if view.duration_ms is None else round(view.duration_ms, 3),
        "status_code": view.status_code,
        "error_class": view.error_class,
        "message": view.message,
        "next_attempt_at": _time(view.next_attempt_at),
        **{n: m for n, m in detail.items() if n in ("url", "request", "response", "timings")},
    }


def _time(at: int | None) -> str | None:
    """A time; what never comes is not shown."""
    return None if at is None or at >= times.NEVER else times.render(at)
