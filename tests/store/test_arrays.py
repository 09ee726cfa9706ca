"""Rows on their way to PostgreSQL: what arrives is what was given, and little is sent for it."""

from collections import deque
from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.store.postgres.compiling import arrays
from service.store.postgres.connections import Address

pytestmark = pytest.mark.anyio

NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
TEXTS = st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", codec="utf-8")))
BYTES = st.one_of(st.none(), st.binary())


@pytest.fixture
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    made = await Address.of(url).connect()
    yield made
    await made.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.tuples(NUMBERS, TEXTS, BYTES), min_size=1, max_size=6))
async def test_rows_arrive_as_they_are(
    connection: asyncpg.Connection, rows: list[tuple[int | None, str | None, bytes | None]]
) -> None:
    found = await connection.fetch(
        "SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[])", *arrays(rows)
    )

    assert [tuple(each) for each in found] == rows


def test_of_a_column_that_is_null_in_all_rows_nothing_is_sent() -> None:
    assert arrays([(1, None, "a"), (2, None, None)]) == ((1, 2), (), ("a", None))
    assert arrays([(None,), (None,)]) == ((None, None),)  # else there would be no row


async def test_values_are_not_asked_whether_they_are_arrays_themselves(
    connection: asyncpg.Connection,
) -> None:
    # the driver would take anything that is sized and iterable, if it still asked for that
    with pytest.raises(asyncpg.DataError, match="sized iterable"):
        await connection.fetchval("SELECT cardinality($1::text[])", deque(["a"]))
