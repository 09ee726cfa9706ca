"""How both databases would carry statements out: which of them read a large table whole."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any, Final

import asyncpg

from service.domain.ids import key_floor
from service.lab.bench import filling
from service.lab.bench.filling import Bulk, Words
from service.store.postgres.connections import HOT_LIMITS
from tests.support.databases import Place

#: A statement and its parameters.
Given = tuple[str, Any]

#: The tables that grow with what happens.
LARGE: Final = frozenset(
    (
        "attempt_hours",
        "attempts",
        "audit_log",
        "dead_letters",
        "deliveries",
        "delivery_queue",
        "event_ids",
        "events",
        "idempotency_keys",
        "operations",
        "traffic",
    )
)
#: What the hot path looks up besides, of which there may be thousands.
_MANY: Final = LARGE | {"api_keys"}
#: Holds what is in flight only: to read all of it is what it is for.
IN_FLIGHT: Final = "ix_delivery_queue_leases"
#: How a row is found by an index, in the order of that.
_BY_INDEX: Final = frozenset(("Index Scan", "Index Only Scan"))
#: Statements that have a plan.
_PLANNED: Final = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")

_ROWS: Final = 200_000
_BACKLOG: Final = 50_000
_SUBSCRIPTIONS: Final = 100
_NUMBERS: Final = (
    "WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n "
    "WHERE i < {rows} / 4) SELECT "
)
_ANSWERS: Final = (
    "INSERT INTO idempotency_keys (tenant_id, key, fingerprint, answer, created_at) "
    f"{_NUMBERS} 'default', 'key-' || i, {{blob}}, {{blob}}, {{since}} + i FROM n"
)
_AUDIT: Final = (
    "INSERT INTO audit_log (key, tenant_id, actor, action, target) "
    f"{_NUMBERS} i, 'default', 'key_' || i % 10, 'subscription.changed', 'sub_' || i % 1000 FROM n"
)
#: Minutes of forty tenants, each of whose rows stand together.
_TRAFFIC: Final = (
    "INSERT INTO traffic (tenant_id, length, slice_at, accepted, delivered, took_3) "
    f"{_NUMBERS} CASE i % 40 WHEN 0 THEN 'default' ELSE 'tenant-' || (i % 40) END, 60000, "
    "({since} / 60000 - i / 40) * 60000, 2, 1, 1 FROM n"
)
#: Hours of a hundred subscriptions, for some three weeks.
_HOURS: Final = (
    "INSERT INTO attempt_hours (subscription_no, hour_at, succeeded, failed, took) "
    f"{_NUMBERS} 1 + i % 100, ({{since}} / 3600000 - i / 100) * 3600000, 2, 1, {{took}} FROM n"
)
_ENDED: Final = (
    "UPDATE operations SET status = 'COMPLETED', ended_at = {since}, expires_at = {later} "
    "WHERE key / 2097152 % 3 = 0"
)
_FORGOTTEN: Final = (
    "UPDATE operations SET forgotten_at = {since}, expires_at = {since}, ended_at = {since} "
    "WHERE status = 'PROCESSING' AND key / 2097152 % 5 = 0"
)
#: Tables with pages of which it is not known that everybody sees all their rows. A look of the
#: server's own at any table (autovacuum) holds that up, and plans are others then.
_UNSEEN: Final = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
    "AND pg_relation_size(oid) > relallvisible * current_setting('block_size')::bigint"
)
_DAY: Final = key_floor(1_700_086_400_000) - key_floor(1_700_000_000_000)
_SOME: Final = 3_000
_COPY_EVENTS: Final = (
    "INSERT INTO events (key, tenant_id, id, type, operation_key, operation_id, sequence, status, "
    "created_at, feed_position, body) SELECT key - {back}, 'past', id || '-{day}', type, "
    "operation_key - {back}, operation_id, sequence, status, created_at, "
    "feed_position - {day} * {some}, body FROM events WHERE tenant_id = 'default' "
    "ORDER BY key LIMIT {some}"
)
_COPY_ATTEMPTS: Final = (
    "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at) "
    "SELECT event_key - {back}, subscription_no, number, trigger, started_at FROM attempts "
    "ORDER BY event_key DESC LIMIT {some}"
)
#: What a column has that holds bytes.
_BLOBS: Final = {"blob": "'x'", "took": "'[[3,3]]'"}
#: What does not come with events: answers that are repeated, the audit log, counts over time, ends
#: of operations.
_REST: Final = (_ANSWERS, _AUDIT, _TRAFFIC, _HOURS, _ENDED, _FORGOTTEN)


def bulk(now: int, first_no: int) -> Bulk:
    """Rows enough for plans to be those of a store that has seen something: half is open."""
    since = now - 7_200_000
    return Bulk(
        count=_ROWS,
        since=since,
        first_no=first_no,
        feed=0,
        due=since,
        waiting=50,
        dead=15,
        subscriptions=_SUBSCRIPTIONS,
    )


async def fill_backlog(url: str, now: int) -> None:
    """Let one subscription have very much that is due, and the server look at what it has."""
    rows = Bulk(count=_BACKLOG, since=now - 7_200_000, first_no=1, feed=100, due=now, waiting=100)
    connection = await asyncpg.connect(url)
    try:
        for statements in filling.texts(rows, filling.POSTGRES):
            await connection.execute("; ".join(statements))
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


def texts(rows: Bulk, words: Words) -> Iterator[list[str]]:
    """The statements that fill a store which has one subscription, a transaction each."""
    yield filling.more_subscriptions(_SUBSCRIPTIONS - 1, rows.first_no, words)
    yield from filling.texts(rows, words)
    later = rows.since + 10**8
    blobs = {name: words.blob.format(text) for name, text in _BLOBS.items()}
    given = {"rows": _ROWS, **blobs, "since": rows.since, "later": later}
    yield [text.format(**given) for text in _REST]


async def fill(place: Place, rows: Bulk, days: int = 0) -> None:
    """Fill a store, some of it also so many days back, and let the database look at what it has.

    PostgreSQL does so by itself sooner or later, table by table: not at what is empty, nor at a
    whole of parts. SQLite never does, so here it does not either.
    """
    if isinstance(place, Path):
        with closing(sqlite3.connect(place)) as file:
            for statements in texts(rows, filling.SQLITE):
                for text in statements:
                    file.execute(text)
                file.commit()
        return
    connection = await asyncpg.connect(place)
    try:
        for statements in texts(rows, filling.POSTGRES):
            await connection.execute("; ".join(statements))
        for day, text in product(range(1, days + 1), (_COPY_EVENTS, _COPY_ATTEMPTS)):
            await connection.execute(text.format(back=day * _DAY, day=day, some=_SOME))
        # all rows are looked at, not a sample of them: else a plan is by chance
        await connection.execute("SET default_statistics_target = 10000")
        while names := await connection.fetch(_UNSEEN):
            for (name,) in names:
                await connection.execute(f'VACUUM (ANALYZE) "{name}"')
    finally:
        await connection.close()


async def parts_read(url: str, given: Sequence[Given]) -> dict[str, int]:
    """By statement about events, how many parts of them it looks into.

    What inserts events is not carried out once more: how many it would look into.
    """
    once = {sql: values for sql, values in given if sql.startswith(_PLANNED) and "events" in sql}
    connection = await asyncpg.connect(url)
    try:
        found = {}
        for sql, values in once.items():
            is_again = "INSERT INTO" not in sql
            nodes = await _carried_out(connection, sql, values, is_again=is_again)
            read = (node for node in nodes if node.get("Actual Loops", 1))
            names = {node.get("Relation Name", "") for node in read}
            found[sql] = sum(name.startswith("events_") for name in names)
        return found
    finally:
        await connection.close()


async def read_whole(place: Place, given: Sequence[Given]) -> dict[str, list[str]]:
    """By statement, what of it would read a large table, or an index of it, from end to end."""
    once = {sql: values for sql, values in given if sql.startswith(_PLANNED)}
    found = await _on_postgres(place, once) if isinstance(place, str) else _on_sqlite(place, once)
    return {sql: steps for sql, steps in found.items() if steps}


def _on_sqlite(path: Path, given: dict[str, Any]) -> dict[str, list[str]]:
    with closing(sqlite3.connect(path)) as file:
        return {
            sql: [
                step
                for _, _, _, step in file.execute(f"EXPLAIN QUERY PLAN {sql}", values)
                if is_whole(step)
            ]
            for sql, values in given.items()
        }


def is_whole(step: str) -> bool:
    """Whether a step of SQLite's plan reads all of a large table, or of an index of it."""
    words = step.split()
    return words[0] == "SCAN" and words[1] in LARGE and words[-1] != IN_FLIGHT


async def _on_postgres(url: str, given: dict[str, Any]) -> dict[str, list[str]]:
    connection = await asyncpg.connect(url)
    try:
        found = {}
        for sql, values in given.items():
            nodes = _nodes(await _plan(connection, sql, values))
            found[sql] = [f"Seq Scan on {name}" for name in map(_scanned, nodes) if name]
        return found
    finally:
        await connection.close()


async def kept_badly(url: str, given: Sequence[Given]) -> dict[str, list[str]]:
    """By statement of the hot path, what is bad about its plan, which is kept for all values.

    What it reads of a large table it is to find by an index, in the order of that, as far as it is
    wanted: neither is it to read all there is to sort it, nor to join it with the whole.
    """
    once = {sql: values for sql, values in given if sql.startswith(_PLANNED)}
    connection = await asyncpg.connect(url, server_settings=HOT_LIMITS)
    try:
        found = {}
        for sql, values in once.items():
            nothing = ", ".join("NULL" for _ in values)  # such a plan is the same for all
            await connection.execute(f"PREPARE kept AS {sql}")
            explained = f"EXPLAIN (FORMAT JSON) EXECUTE kept{f'({nothing})' if nothing else ''}"
            (plan,) = await connection.fetch(explained)
            await connection.execute("DEALLOCATE kept")
            found[sql] = [
                f"{node['Node Type']} of {_large(node, _MANY)}"
                for node in _nodes(json.loads(plan[0])[0]["Plan"])
                if _is_careless(node)
            ]
        return {sql: faults for sql, faults in found.items() if faults}
    finally:
        await connection.close()


def _is_careless(node: dict[str, Any]) -> bool:
    kind = node["Node Type"]
    if kind == "Sort":
        return any(inner.get("Relation Name") == "delivery_queue" for inner in _nodes(node))
    # of dead letters there are none at first, or a few; once there are, the server soon counts them
    if _large(node, _MANY) in (None, "dead_letters") or kind == "ModifyTable":
        return False
    return kind not in _BY_INDEX or "Index Cond" not in node


async def _plan(connection: Any, sql: str, values: Any) -> dict[str, Any]:  # noqa: ANN401  the library has no types
    (plan,) = await connection.fetch(f"EXPLAIN (FORMAT JSON) {sql}", *values)
    top: dict[str, Any] = json.loads(plan[0])[0]["Plan"]
    return top


async def _carried_out(
    connection: Any,  # noqa: ANN401  the library has no types
    sql: str,
    values: Any,  # noqa: ANN401  as above
    *,
    is_again: bool,
) -> list[dict[str, Any]]:
    """The nodes of its plan, of what it did where it was carried out again, to no effect."""
    transaction = connection.transaction()
    await transaction.start()
    options = "ANALYZE, FORMAT JSON" if is_again else "FORMAT JSON"
    (plan,) = await connection.fetch(f"EXPLAIN ({options}) {sql}", *values)
    await transaction.rollback()
    return list(_nodes(json.loads(plan[0])[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


def _scanned(node: dict[str, Any]) -> str | None:
    """The large table that a node reads from end to end."""
    return _large(node) if node["Node Type"] == "Seq Scan" else None


def _large(node: dict[str, Any], large: frozenset[str] = LARGE) -> str | None:
    """The large table that a node reads; parts go by the name of the whole."""
    name = node.get("Relation Name", "")
    return next((table for table in large if name == table or name.startswith(f"{table}_")), None)


#: What a page may take: SQLite counts in thousands of its instructions, PostgreSQL in pages of 8 KB
#: that it looks at, and in rows that it reads in vain. All are the same in every run.
_STEP: Final = 1_000
_MOST_STEPS: Final = 200
MOST_PAGES: Final = 3_000
#: What it may be for a page that looks rows up in other tables: some ten of each.
MOST_PAGES_LOOKED_UP: Final = 50_000
_MOST_IN_VAIN: Final = 8_000


async def much_work(
    place: Place, given: Sequence[Given], pages: int = MOST_PAGES
) -> list[tuple[str, str]]:
    """The reading statements that take more than a page of a list may, and what they take."""
    reads = [each for each in given if each[0].startswith(("SELECT", "WITH"))]
    if isinstance(place, str):
        return await _many_pages(place, reads, pages)
    return [(sql, f"{n} steps") for sql, n in _steps(place, reads) if n > _MOST_STEPS]


def _steps(path: Path, given: Sequence[Given]) -> Iterator[tuple[str, int]]:
    with closing(sqlite3.connect(path)) as file:
        for sql, values in given:
            ticks = count(1)
            file.set_progress_handler(partial(_tick, ticks), _STEP)
            file.execute(sql, values).fetchall()
            yield sql, next(ticks) - 1


def _tick(ticks: "count[int]") -> int:
    """Count; what is not 0 would stop the statement."""
    next(ticks)
    return 0


async def _many_pages(url: str, given: Sequence[Given], most: int) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    try:
        found = []
        for sql, values in given:
            explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
            (plan,) = await connection.fetch(explained, *values)
            top = json.loads(plan[0])[0]["Plan"]
            pages = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
            in_vain = sum(map(_in_vain, _nodes(top)))
            if pages > most or in_vain > _MOST_IN_VAIN:
                found.append((sql, f"{pages} pages, {in_vain:.0f} rows in vain"))
        return found
    finally:
        await connection.close()


def _in_vain(node: dict[str, Any]) -> float:
    if _large(node) is None:
        return 0.0
    return float(node.get("Rows Removed by Filter", 0) * node.get("Actual Loops", 1))
