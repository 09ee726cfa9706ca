"""Rows to values of the domain and back.

A row has its columns in the order of ``*_COLUMNS``, which is the table's own; lists within a row
are JSON.
"""

import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

from service.domain.operation import Operation, Status
from service.domain.subscription import (
    Secret,
    Signing,
    Subscription,
    SubscriptionStatus,
    Verification,
)
from service.store.schema import operations, subscription_secrets, subscriptions
from service.store.statements import Row

OPERATION_COLUMNS: Final = tuple(column.name for column in operations.columns)
SUBSCRIPTION_COLUMNS: Final = tuple(
    column.name for column in subscriptions.columns if column.name != "deleted_at"
)
SECRET_COLUMNS: Final = tuple(
    column.name for column in subscription_secrets.columns if column.name != "subscription_no"
)

_LISTS: Final = ("event_types", "operation_types", "header_names", "retry_schedule")


_STATUSES: Final = {status.value: status for status in Status}
_STATUS_AT: Final = OPERATION_COLUMNS.index("status")
_DESCRIBED_AT: Final = OPERATION_COLUMNS.index("described")
_operation_values: Final[Callable[[Operation], tuple[Any, ...]]] = attrgetter(*OPERATION_COLUMNS)


def operation_of(row: Row) -> Operation:
    """The operation of a row."""
    values = dict(zip(OPERATION_COLUMNS, row, strict=True))
    values["status"] = _STATUSES[values["status"]]
    values["described"] = bool(values["described"])
    return Operation(**values)


def operation_row(operation: Operation) -> Row:
    """The row of an operation."""
    values = list(_operation_values(operation))
    values[_STATUS_AT] = operation.status.value
    values[_DESCRIBED_AT] = int(operation.described)
    return tuple(values)


def subscription_of(row: Row) -> Subscription:
    """The subscription of a row."""
    values = dict(zip(SUBSCRIPTION_COLUMNS, row, strict=True))
    for name in _LISTS:
        values[name] = _list(values[name])
    values["status"] = SubscriptionStatus(values["status"])
    values["signing"] = Signing(values["signing"])
    values["verification"] = Verification(values["verification"])
    return Subscription(**values)


def subscription_row(subscription: Subscription) -> Row:
    """The row of a subscription."""
    return tuple([_plain(getattr(subscription, name)) for name in SUBSCRIPTION_COLUMNS])


def secret_of(row: Row) -> Secret:
    """The secret of a row."""
    return Secret(**dict(zip(SECRET_COLUMNS, row, strict=True)))


def scopes_of(text: str) -> frozenset[str]:
    """The scopes of a key: they are written as OAuth does, parted by spaces."""
    return frozenset(text.split())


def scopes_text(scopes: Iterable[str]) -> str:
    """How scopes are written in a row."""
    return " ".join(sorted({str(scope) for scope in scopes}))


def json_bytes(value: object) -> bytes:
    """A value as JSON, as it is kept in a column."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _list(column: bytes | None) -> tuple[Any, ...] | None:
    return None if column is None else tuple(json.loads(column))


def _plain(value: object) -> object:
    """What a driver takes: lists as JSON, words and truths as what they are underneath."""
    if isinstance(value, tuple):
        return json_bytes(value)
    if isinstance(value, StrEnum):
        return value.value
    return int(value) if isinstance(value, bool) else value


def schedule_of(column: bytes | None) -> tuple[float, ...] | None:
    """A subscription's own retry schedule, in seconds."""
    return _list(column)
