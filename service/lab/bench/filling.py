"""Rows for a store that has seen much, or has much to do: bulk SQL, run beside the service.

The service is stopped meanwhile. The rows are what it would have written: of the same shape, with
keys of the past, four events to an operation. The same text goes to both databases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.domain.ids import key_floor
from service.lab.bench.stamps import EVENT_BYTES, EVENT_TYPE, PER_OPERATION

_MOMENT: Final = 1_700_000_000_000
#: Events of one millisecond: as many as keys of one operation, and well within a key's counter.
A_MILLISECOND: Final = PER_OPERATION
#: By how much a key grows in a millisecond.
_MILLISECOND: Final = key_floor(_MOMENT + 1) - key_floor(_MOMENT)
#: Rows in one transaction.
_CHUNK: Final = 100_000
#: Bytes of the bodies of history: their number is what counts, and disks have an end.
_SHORT: Final = 100
#: Milliseconds after which what is not to be sent is due.
_LATER: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Bulk:
    """What is to be written.

    Attributes:
        since: ms at which the first of them was accepted; later ones follow, four a millisecond.
        waiting, dead: of each hundred deliveries those that are open, and those that are dead.
        subscriptions: over how many the deliveries are spread, numbered on from ``first_no``.
        due: ms at which what is open is due.
    """

    count: int
    since: int
    first_no: int
    feed: int
    due: int
    waiting: int = 0
    dead: int = 0
    subscriptions: int = 1
    size: int = _SHORT


@dataclass(frozen=True, slots=True)
class Words:
    """What the two databases say differently."""

    #: Bytes from a text.
    blob: str


SQLITE: Final = Words("CAST({} AS BLOB)")
POSTGRES: Final = Words("convert_to({}, 'UTF8')")

_NUMBERS: Final = (
    "WITH RECURSIVE n(i) AS (SELECT CAST({first} AS BIGINT) UNION ALL SELECT i + 1 FROM n "
    "WHERE i + 1 < {end}) SELECT "
)
_KEY: Final = f"{{base}} + i / {A_MILLISECOND} * {_MILLISECOND} + i % {A_MILLISECOND}"
_OPERATION_KEY: Final = f"{{base}} + i / {PER_OPERATION} * {_MILLISECOND} + {PER_OPERATION}"
_AT: Final = f"{{since}} + i / {A_MILLISECOND}"


def _named(prefix: str, number: str = "i") -> str:
    """An id: a word and a number of twelve digits."""
    return f"'{prefix}' || substr(CAST(1000000000000 + {number} AS TEXT), 2)"


_ID: Final = _named("evt_past")
_OPERATION_ID: Final = _named("past-", f"i / {PER_OPERATION}")
#: A hundred to one, then to the next: what is open or dead is so for each.
_NO: Final = "{first_no} + i / 100 % {subscriptions}"
_TEXT: Final = (
    f'\'{{{{"id":"\' || {_ID} || \'","type":"{EVENT_TYPE}","data":{{{{"stamp":"\' || '
    "substr(CAST(10000000000 + i AS TEXT), 2) || "
    '\'0000000000000000","rest":"{rest}"}}}}\''
)
_PART: Final = "i % 100"
_IS_OPEN: Final = f"{_PART} < {{waiting}}"
_IS_DEAD: Final = f"{_PART} >= {{waiting}} AND {_PART} < {{waiting}} + {{dead}}"
_IS_OVER: Final = f"{_PART} >= {{waiting}}"

_OPERATIONS: Final = (
    "INSERT INTO operations (key, tenant_id, id, type, status, sequence, created_at, updated_at, "
    f"described) {_NUMBERS} {_OPERATION_KEY}, 'default', {_OPERATION_ID}, 'report', 'PROCESSING', "
    f"{PER_OPERATION}, {_AT}, {_AT}, 0 FROM n WHERE i % {PER_OPERATION} = 0"
)
_EVENTS: Final = (
    "INSERT INTO events (key, tenant_id, id, type, operation_key, operation_id, sequence, status, "
    f"created_at, feed_position, body) {_NUMBERS} {_KEY}, 'default', {_ID}, '{EVENT_TYPE}', "
    f"{_OPERATION_KEY}, {_OPERATION_ID}, i % {PER_OPERATION} + 1, 'PROCESSING', {_AT}, "
    "{feed} + i + 1, {body} FROM n"
)
_EVENT_IDS: Final = (
    f"INSERT INTO event_ids (tenant_id, id, event_key) {_NUMBERS} 'default', {_ID}, {_KEY} FROM n"
)
_DELIVERIES: Final = (
    "INSERT INTO deliveries (event_key, subscription_no, status, attempts, finished_at) "
    f"{_NUMBERS} {_KEY}, {_NO}, CASE WHEN {_IS_DEAD} THEN 'dead' ELSE 'delivered' END, 1, {_AT} "
    f"FROM n WHERE {_IS_OVER}"
)
_ATTEMPTS: Final = (
    "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at, duration_ms, "
    f"status_code, detail) {_NUMBERS} {_KEY}, {_NO}, 1, 'schedule', {_AT}, 1.5, "
    f"CASE WHEN {_IS_DEAD} THEN 500 ELSE 200 END, {{detail}} FROM n WHERE {_IS_OVER}"
)
_QUEUE: Final = (
    "INSERT INTO delivery_queue (event_key, subscription_no, due_at, attempts, step, trigger) "
    f"{_NUMBERS} {_KEY}, {_NO}, {{due}}, 0, 0, 'schedule' FROM n WHERE {_IS_OPEN}"
)
_DEAD_LETTERS: Final = (
    "INSERT INTO dead_letters (event_key, subscription_no, tenant_id, state, reason, attempts, "
    "dead_at, replays, status_code, event_id, event_type, operation_id, sequence, body) "
    f"{_NUMBERS} {_KEY}, {_NO}, 'default', 'open', 'attempts_exhausted', 1, {_AT}, 0, 500, {_ID}, "
    f"'{EVENT_TYPE}', {_OPERATION_ID}, i % {PER_OPERATION} + 1, {{body}} FROM n WHERE {_IS_DEAD}"
)
_ROWS: Final = (
    _OPERATIONS,
    _EVENTS,
    _EVENT_IDS,
    _DELIVERIES,
    _ATTEMPTS,
    _QUEUE,
    _DEAD_LETTERS,
)
_FEED: Final = "UPDATE tenants SET feed_position = feed_position + {count} WHERE id = 'default'"
#: Subscriptions like one that there is, but for what they are called and what they want.
_MORE: Final = (
    "INSERT INTO subscriptions (no, id, tenant_id, url, event_types, operation_types, "
    "header_names, payload, status, hold_until, created_at, updated_at, version) "
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
    f"SELECT no + i, {_named('sub_past')}, tenant_id, url, {{types}}, operation_types, "
    "header_names, payload, status, hold_until, created_at, updated_at, version "
    "FROM subscriptions, n WHERE no = {no}"
)


def history(count: int, since: int, first_no: int, feed: int) -> Bulk:
    """Events that were delivered and recorded."""
    return Bulk(count, since, first_no, feed, 0)


def backlog(count: int, since: int, first_no: int, feed: int) -> Bulk:
    """Events that are due."""
    return Bulk(count, since, first_no, feed, since, waiting=100, size=EVENT_BYTES)


def mixture(count: int, since: int, first_no: int, feed: int) -> Bulk:
    """Deliveries to a hundred subscriptions: most are done, some are dead, some are not due yet."""
    later = since + _LATER
    return Bulk(count, since, first_no, feed, later, waiting=5, dead=5, subscriptions=100)


def texts(bulk: Bulk, words: Words) -> Iterator[list[str]]:
    """The statements of one transaction after the other."""
    given = {
        "base": key_floor(bulk.since),
        "since": bulk.since,
        "feed": bulk.feed,
        "first_no": bulk.first_no,
        "subscriptions": bulk.subscriptions,
        "due": bulk.due,
        "waiting": bulk.waiting,
        "dead": bulk.dead,
        "count": bulk.count,
        "body": words.blob.format(_TEXT.format(rest="x" * bulk.size)),
        "detail": words.blob.format(f'\'{{"url":"{"x" * bulk.size}"}}\''),
    }
    for first in range(0, bulk.count, _CHUNK):
        end = min(first + _CHUNK, bulk.count)
        yield [text.format(first=first, end=end, **given) for text in _ROWS]
    yield [_FEED.format(**given)]


def more_subscriptions(count: int, no: int, words: Words) -> list[str]:
    """The statements that make so many more like subscription ``no``, which want other events.

    They have no secrets: those are sealed for the subscription that they are of.
    """
    types = words.blob.format("""'["past.' || i || '"]'""")
    given = {"count": count, "no": no, "types": types}
    return [_MORE.format(**given)]
