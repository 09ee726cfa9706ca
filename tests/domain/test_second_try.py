"""Trying a failed operation once more: which ones, when, and what becomes of them."""

import json

import pytest

from service.domain.errors import RefusalKind
from service.domain.operation import REPLAY_TYPE, Operation, Status
from service.domain.second_try import first_event, is_retryable, refuse_retry, successor

NOW = 1_750_000_000_000


def failed(error: bytes | None = b'{"retryable":true}', **members: object) -> Operation:
    plain: dict[str, object] = {"key": 1, "tenant_id": "t", "id": "op", "status": Status.FAILED}
    plain |= {"created_at": 1, "updated_at": 1, "ended_at": NOW, "error": error}
    return Operation(**{**plain, **members})  # type: ignore[arg-type]  # members of many types


def test_a_retryable_failure_may_be_tried_once_more() -> None:
    assert refuse_retry(failed(), NOW) is None
    assert is_retryable(failed())


@pytest.mark.parametrize(
    "error",
    [None, b"null", b"{}", b'{"retryable":false}', b'{"retryable":null}', b"5", b'{"retryable":1}'],
)
def test_a_failure_that_does_not_say_so_is_for_good(error: bytes | None) -> None:
    refusal = refuse_retry(failed(error), NOW)

    assert refusal is not None
    assert refusal.kind is RefusalKind.CONFLICT
    assert "retryable" in refusal.detail
    assert not is_retryable(failed(error))


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.FAILED])
def test_only_what_failed_is_tried_once_more(status: Status) -> None:
    refusal = refuse_retry(failed(status=status), NOW)

    assert refusal is not None
    assert refusal.extra == {"currentStatus": status.value}
    assert not is_retryable(failed(status=status))


def test_ringbacks_own_operations_are_not_tried_once_more() -> None:
    assert not is_retryable(failed(type=REPLAY_TYPE))
    assert refuse_retry(failed(type=REPLAY_TYPE), NOW) is not None


@pytest.mark.parametrize(
    ("after", "wait"), [(0, 3), (1, 3), (500, 2), (2_499, 1), (2_500, None), (9_000, None)]
)
def test_a_failure_may_ask_for_patience(after: int, wait: int | None) -> None:
    refusal = refuse_retry(failed(b'{"retryable":true,"retryAfter":2.5}'), NOW + after)

    assert (None if refusal is None else refusal.retry_after) == wait
    assert is_retryable(failed(b'{"retryable":true,"retryAfter":2.5}'))


def test_the_new_one_is_as_the_failed_one_was_described() -> None:
    old = failed(
        type="report",
        sequence=9,
        metadata=b'{"a":1}',
        client_job_id="job",
        expected_ms=10,
        ttl_ms=20,
        timeout_ms=30,
        progress=b"50",
        webhook_id="sub_1",
        expires_at=5,
    )

    new = successor(old, 7, "new", NOW)

    assert new == Operation(
        key=7,
        tenant_id="t",
        id="new",
        type="report",
        created_at=NOW,
        updated_at=NOW,
        metadata=b'{"a":1}',
        described=True,
        expected_ms=10,
        ttl_ms=20,
        timeout_ms=30,
        estimated_at=NOW + 10,
        silent_at=NOW + 30,
        retry_of="op",
    )
    event = first_event(new)
    assert (event.type, event.operation_id, event.status) == ("RETRY_REQUESTED", "new", None)
    assert json.loads(bytes(event.data)) == {"retryOf": "op"}
